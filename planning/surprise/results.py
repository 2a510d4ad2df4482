"""Rows of surprise, one a method and category, and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from planning.surprise.scores import Judged, auroc, best_pooling, bootstrap, pairwise, pooled
from robot_wm.core.config import Count, Natural, Within
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.measured_rows import add_measured, read_measured

Row = dict[str, Any]
ALL = "all"  # the category of every pair of scenes that the task trains on
IDENTITY = ("task", "method", "category", "seed", "pairs", "model_sha256")
Percent = Annotated[float, Within(0, 100)]
FOLDER = "physics"  # of rows, below results


@dataclass(frozen=True)
class Known:
    """What every row says.

    Attributes:
        pooling: of surprise over a clip, chosen on validation pairs.
        pairwise_pct, auroc_pct: and their 95 % intervals, bootstrapped by scene.
        own_scene: whether the clips show the scene that the model was trained on.
    """

    task: str
    method: str
    category: str
    pairs: Count
    seed: Natural
    pooling: str
    pairwise_pct: Percent
    pairwise_low: Percent
    pairwise_high: Percent
    auroc_pct: Percent
    auroc_low: Percent
    auroc_high: Percent
    own_scene: bool


def rows_of(
    method: str,
    test: Mapping[str, Judged],
    validation: Mapping[str, Judged],
    elsewhere: Sequence[str],
    info: Mapping[str, Any],
) -> list[Row]:
    """Rows of one method, a category each and one over all.

    Args:
        test, validation: by category, see :func:`planning.surprise.scores.judged`.
        elsewhere: categories shown in another scene than the task's: no part of ``all``.
        info: further facts: ``task`` and ``seed`` among them.
    """
    own = [name for name in test if name not in elsewhere]
    chosen_on = [pair for name in own for pair in validation[name]]
    pooling = best_pooling(chosen_on or [pair for found in validation.values() for pair in found])
    scores = {name: pooled(found, pooling) for name, found in test.items()}
    if own:
        scores[ALL] = np.concatenate([scores[name] for name in own])
    return [
        {
            **info, "method": method, "category": name, "pairs": len(found), "pooling": pooling,
            "own_scene": name not in elsewhere,
            **_interval("pairwise", pairwise, found), **_interval("auroc", auroc, found),
        }
        for name, found in scores.items()
    ]  # fmt: skip


def _interval(name: str, statistic: Any, scores: np.ndarray) -> dict[str, float]:
    low, high = bootstrap(statistic, scores, np.random.default_rng(0))
    values = {"pct": statistic(scores), "low": low, "high": high}
    return {f"{name}_{key}": round(100 * value, 2) for key, value in values.items()}


def read_rows(path: Path) -> list[Row]:
    """All rows of one file, see :func:`read_measured`."""
    return read_measured(path, Known)


def add_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows; the same ones measured again replace theirs."""
    add_measured(path, rows, Known, IDENTITY)


def render(rows: Iterable[Row]) -> str:
    """Methods by categories: accuracy on pairs [%], and the area under the curve over all."""
    rows = list(rows)
    categories = list(dict.fromkeys(row["category"] for row in rows))
    order = [c for c in categories if c != ALL] + [ALL] * (ALL in categories)
    own = {row["category"]: row["own_scene"] for row in rows}
    cells = {(row["method"], row["category"]): row for row in rows}
    head = ["method", *(c if own[c] else f"{c} ¹" for c in order), "95 %", "AUROC", "95 %", "by"]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        found = [cells.get((method, c)) for c in order]
        last = cells.get((method, ALL)) or next(row for row in found if row)
        lines.append([
            method, *("--" if row is None else f"{row['pairwise_pct']:.0f}" for row in found),
            f"{last['pairwise_low']:.0f}–{last['pairwise_high']:.0f}",
            f"{last['auroc_pct']:.0f}",
            f"{last['auroc_low']:.0f}–{last['auroc_high']:.0f}", last["pooling"],
        ])  # fmt: skip
    return table(head, lines)


HEADER = """## physics

Violation of expectation (`robot-wm physics`): matched clips, of which one breaks a law from some
frame on; per cent of pairs in which it is the more surprising one (chance: 50), then the area under
the curve of clips taken singly, with 95 % intervals bootstrapped by scene. `pixels` is the mean
change of pixels: far from 50 it says that motion alone tells, below 50 that the impossible clip
moves less. How surprise is pooled over a clip was chosen on validation pairs. ¹ another scene,
on which the model was never trained: no claim, and no part of *all*.
"""


def render_section(results: Path) -> str:
    """The section of ``docs/results.md``; empty where there are no rows."""
    files = sorted((results / FOLDER).glob("*.jsonl"))
    parts = [f"### {path.stem}\n\n{render(newest(read_rows(path)))}" for path in files]
    return "\n".join([HEADER, *parts]) if parts else ""


def newest(rows: Sequence[Row]) -> list[Row]:
    """Of each method and category the row that was measured last."""
    found: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: str(row.get("date", ""))):
        found[row["method"], row["category"]] = row
    return [row for row in rows if found[row["method"], row["category"]] is row]
