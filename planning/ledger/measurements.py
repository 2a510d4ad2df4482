"""Rows of measurements made for one claim alone: ``results/claims/*.jsonl``, one run a line.

What evaluations, surprise and comparisons measure has rows of its own; here is what has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from robot_wm.core.config import Count, Natural, Within
from robot_wm.core.storage.measured_rows import add_measured, identity_of, read_measured

Row = dict[str, Any]
FOLDER = "claims"  # of rows, below results
IDENTITY = ("claim", "task", "model", "setting", "seed", "model_sha256")


@dataclass(frozen=True)
class Known:
    """What every row says.

    Attributes:
        claim: its number in the ledger.
        model: world model or objective that was measured.
        setting: the value of what is varied, as a number; None where nothing is.
        seed: of training where the claim asks for several, else of the measurement.
        n: episodes, pairs, clips or frames.
        values: measured, by name.
    """

    claim: Annotated[int, Within(1, 12)]
    task: str
    model: str
    setting: float | None
    seed: Natural
    n: Count
    values: Mapping[str, float]


def read_rows(path: Path) -> list[Row]:
    """All rows of one file, see :func:`read_measured`."""
    return read_measured(path, Known)


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows; the same ones measured again replace theirs."""
    add_measured(path, rows, Known, IDENTITY)


def find(path: Path, asked: Row) -> Row | None:
    """The row on file that says all this, if one does."""
    rows = read_rows(path) if path.is_file() else []
    same = [row for row in rows if all(row.get(key) == value for key, value in asked.items())]
    return same[-1] if same else None


def newest(rows: Sequence[Row]) -> list[Row]:
    """Of each model, task, setting and seed of a claim the row that was measured last."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: str(row.get("date", ""))):
        found[identity_of(row, IDENTITY[:-1])] = row
    return [row for row in rows if found[identity_of(row, IDENTITY[:-1])] is row]
