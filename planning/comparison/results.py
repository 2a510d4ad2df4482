"""Rows of compared world models, one a model, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from planning.comparison import acceptance
from planning.evaluation.statistics import mean_sd
from planning.reporting.tables import MISSING, number
from robot_wm.core.config import Count, Natural, Within
from robot_wm.core.storage.json_io import write_lines
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.measured_rows import read_measured
from robot_wm.core.storage.provenance import queue

Row = dict[str, Any]
FOLDER = "compare"  # of rows, below results
IDENTITY = ("task", "model", "train_seed", "asked_sha256")
MEANS = (
    "success_pct",
    "strict_pct",
    "surprise_pct",
    "plan_ms",
    "samples_per_s",
    "cpu_minutes",
    "peak_mb",
)  # over training seeds
Percent = Annotated[float, Within(0, 100)]


@dataclass(frozen=True)
class Known:
    """What every row says; None where it could not be measured.

    Attributes:
        asked_sha256: of weights, pairs, planner and clips: an equal one is not measured again.
        success_pct, strict_pct: goal images reached, by the list's own predicate and the strict.
        overlays: goal images reached [%] by kind of noise over everything seen.
        encoder: family of the encoder if it learnt nothing (``patches``, ``random``); else empty.
        costs: goal images reached [%] with other step costs than the model's own.
        surprise_pct: pairs of clips told apart, see ``robot-wm physics``.
        plan_ms: median time of perceiving and planning.
        samples_per_s: training samples, as the configuration counts them, by wall time.
        cpu_minutes, peak_mb: of the training.
        meters: what the training measured of the finished model on held-out episodes.
    """

    task: str
    model: str
    asked_sha256: str
    train_seed: int | None
    episodes: Count
    success_pct: Percent
    strict_pct: Percent | None
    overlays: Mapping[str, Percent]
    surprise_pct: Percent | None
    plan_ms: float | None
    parameters: Natural
    samples_per_s: float | None
    cpu_minutes: float | None
    peak_mb: float | None
    meters: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, Percent] = field(default_factory=dict)
    encoder: str = ""


def read_rows(path: Path) -> list[Row]:
    """All rows of one file; none where there is no file.

    Raises:
        DataError: unreadable, or a line that is not a row.
    """
    return read_measured(path, Known) if path.is_file() else []


def find(path: Path, identity: Mapping[str, Any]) -> Row | None:
    """The row that was measured for these values of :data:`IDENTITY`, if one was."""
    same = [r for r in read_rows(path) if all(r.get(k) == identity[k] for k in IDENTITY)]
    return same[-1] if same else None


def add_row(path: Path, row: Row) -> None:
    """Add a row."""
    with queue(path):
        write_lines(path, [*read_rows(path), row])


def cells(row: Row, others: Sequence[str]) -> list[str]:
    """A row, or one of :func:`over_seeds`, as the table shows it."""
    sd, seen = row.get("success_sd"), variants(row)
    return [
        named(row), number(row["success_pct"]) + (f" ± {sd:.1f}" if sd is not None else ""),
        number(row["strict_pct"]),
        *(number(seen.get(name)) for name in others), number(row["surprise_pct"], 0),
        MISSING if row["plan_ms"] is None else f"{row['plan_ms'] / 1000:.3f}",
        number(row["samples_per_s"], 0), number(row["cpu_minutes"], 2),
        f"{row['parameters']:,}", number(row["peak_mb"], 0), str(row["episodes"]),
        str(row.get("seeds", 1)),
    ]  # fmt: skip


def head(others: Sequence[str]) -> list[str]:
    """Titles over :func:`cells`."""
    return [
        "world model", "success %", "strict %", *(f"{name} %" for name in others),
        "surprise %", "s a plan", "samples/s", "CPU minutes", "parameters", "peak MB", "n", "seeds",
    ]  # fmt: skip


def variants(row: Row) -> dict[str, float]:
    """Goal images reached [%] under every noise and with every other cost."""
    noises = {f"{name} noise": value for name, value in row["overlays"].items()}
    return noises | {f"{name} cost": value for name, value in row.get("costs", {}).items()}


def variants_of(rows: Sequence[Row]) -> list[str]:
    """What of :func:`variants` some row has."""
    return list(dict.fromkeys(name for row in rows for name in variants(row)))


def render(rows: Sequence[Row]) -> str:
    """One table, Markdown, a line a model."""
    means = over_seeds(rows)
    others = variants_of(means)
    return table(head(others), [cells(row, others) for row in means])


def named(row: Row) -> str:
    """The model, and what it sees through if that learnt nothing."""
    return " on ".join(filter(None, (row["model"], row.get("encoder"))))


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """Of each model one row: the means over its training seeds, None where one of them has none.

    Beside them ``seeds``, their number, and ``success_sd``, the sample standard deviation [%].
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["task"], named(row)), []).append(row)
    pooled = []
    for group in groups.values():
        mean = {key: _mean([row[key] for row in group]) for key in MEANS}
        _, sd = mean_sd([row["success_pct"] for row in group])
        pooled.append(group[-1] | mean | {
            "overlays": _means([row["overlays"] for row in group]),
            "costs": _means([row.get("costs", {}) for row in group]),
            "seeds": len(group), "success_sd": sd,
            "episodes": sum(row["episodes"] for row in group),
        })  # fmt: skip
    return pooled


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean_sd(known)[0] if len(known) == len(values) else None


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Of every number that all have."""
    names = [name for name in found[0] if all(name in each for each in found)]
    return {name: _mean([each[name] for each in found]) for name in names}


HEADER = """## compare

World models side by side (`robot-wm compare`): same episodes, same experiment, same planner, same
held-out pairs. *new* noise differs in every frame, *fixed* stays through an episode, both over
start, rollout and goal picture, by its standard deviation in shares of full brightness. *Cost*:
with another step cost than the model's own, *pixels* between its drawings and the goal picture,
*shared* between what the frozen encoder sees in both. *Surprise* is that of `robot-wm physics`.
Samples, CPU minutes and memory are those of the training; samples are counted as each configuration
counts them.
"""

OWN = """What each was to show on its own, of the finished model on held-out episodes:
"""


def render_section(results: Path) -> str:
    """The section of ``docs/results.md``; empty where there are no rows."""
    files = sorted((results / FOLDER).glob("*.jsonl"))
    parts = []
    for path in files:
        rows = newest(read_rows(path))
        shown = acceptance.render(rows)
        parts.append(f"### {path.stem}\n\n{render(rows)}" + f"\n{OWN}\n{shown}" * bool(shown))
    return "\n".join([HEADER, *parts]) if parts else ""


def newest(rows: Sequence[Row]) -> list[Row]:
    """Of each model and training seed the row that was measured last."""
    found = {(named(row), row["train_seed"]): row for row in rows}
    return list(found.values())
