"""Rows of measurements made for one claim alone: ``results/claims/*.jsonl``, one run a line.

What evaluations, surprise and comparisons measure has rows of its own; here is what has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from robot_wm.core.config import Count, Natural, Within
from robot_wm.core.storage.json_io import read_lines, write_lines
from robot_wm.core.storage.provenance import queue
from robot_wm.core.storage.records import parse_record

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
        n: episodes, pairs or clips.
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
    """All rows of one file.

    Raises:
        DataError: unreadable, or a line that is not a row.
    """
    rows = read_lines(path, whole=True)
    for number, row in enumerate(rows, start=1):
        known = {name: row[name] for name in Known.__dataclass_fields__ if name in row}
        parse_record(known, Known, f"row {number} of {path}", "restore the committed file")
    return rows


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows; the same ones measured again replace theirs."""
    fresh = {_identity(row) for row in rows}
    with queue(path):
        kept = read_rows(path) if path.exists() else []
        write_lines(path, [*(row for row in kept if _identity(row) not in fresh), *rows])


def newest(rows: Sequence[Row]) -> list[Row]:
    """Of each model, task, setting and seed of a claim the row that was measured last."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda row: str(row.get("date", ""))):
        found[_identity(row)[:-1]] = row
    return [row for row in rows if found[_identity(row)[:-1]] is row]


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in IDENTITY)
