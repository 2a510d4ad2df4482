"""Markdown tables generated from the committed rows: the same rows always give the same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planning.evaluation.goal_pairs import ZERO_SHOT
from planning.evaluation.results import IDENTITY, RUN, RowName, parse_row, read_rows
from planning.evaluation.statistics import mean_sd, wilson
from planning.reporting.zero_shot import NONE, factor_table, level_table, score
from robot_wm.core.errors import DataError
from robot_wm.core.storage.markdown import table

Row = dict[str, Any]
MISSING = "--"
FAMILIES = ("official", "moderate", "strict")  # shown first, in this order; others follow by name
HEADER = """# Results

Generated from `results/*.jsonl` by `robot-wm results`; do not edit. Success is the mean over
evaluation seeds, then mean ± sample SD over training seeds; intervals are Wilson 95 % on pooled
episodes; *random* is uniform actions on the same pair lists. Rows marked *no* in the last column
come from a scene whose calibration gates had not passed, or not been judged, when they were run.
Never compare across families or budget classes. `--` means not run.
"""


@dataclass(frozen=True)
class Cell:
    """All rows of one method on one task: training seeds by evaluation seeds."""

    name: RowName
    method: str
    backend: str
    rows: tuple[Row, ...]

    @property
    def label(self) -> str:
        """Method with its modifiers and, unless torch, its backend."""
        extra = [f"@{m}" for m in self.name.modifiers if m != self.method]
        return " ".join([self.method, *extra, *([f"({self.backend})"] * (self.backend != "torch"))])

    @property
    def by_seed(self) -> list[float]:
        """Success [%] per training seed, averaged over its evaluation seeds."""
        seeds = sorted({row["train_seed"] for row in self.rows}, key=str)
        return [
            float(np.mean([r["success_pct"] for r in self.rows if r["train_seed"] == seed]))
            for seed in seeds
        ]


def is_random(row: Row) -> bool:
    """Whether a row is the random floor."""
    return row["method"] == "random" or "random" in parse_row(row["row"]).modifiers


def load_all(results: Path) -> list[Row]:
    """Rows of held-out pairs of all ``*.jsonl`` files of a folder.

    Where a cell (method and seeds) was run with several configurations, weights or pair lists, the
    newest row counts: the tables show what the code does now, the rows keep all.

    Raises:
        DataError: an unreadable file, or the same run twice, which would count episodes double.
    """
    rows: list[Row] = []
    origin: dict[tuple[Any, ...], int] = {}
    for path in sorted(results.glob("*.jsonl")):
        for row in read_rows(path):
            cell = tuple(row[key] for key in IDENTITY if key != "pair_list_sha256")
            if row.get("split", "test") != "test":
                continue  # not held out
            if (other := origin.get(cell)) is None:
                origin[cell] = len(rows)
                rows.append(row)
            elif all(row.get(key) == rows[other].get(key) for key in RUN):
                raise DataError(
                    f"{cell} is there twice, the second time in {path.name}",
                    "one row for each method, configuration, weights and seeds",
                    "delete one of the rows",
                )
            elif _when(row) > _when(rows[other]):
                rows[other] = row
    return rows


def _when(row: Row) -> str:
    return str(row.get("date", ""))


def cells(rows: Iterable[Row]) -> list[Cell]:
    """Group rows of the same row name, method and backend, sorted."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["row"], row["method"], str(row["backend"])), []).append(row)
    return [
        Cell(parse_row(name), method, backend, tuple(groups[name, method, backend]))
        for name, method, backend in sorted(groups)
    ]


def random_on(lists: set[str], rows: Iterable[Row], name: RowName) -> float | None:
    """Success [%] of random actions on exactly these pair lists; None if one was not run.

    The same family and factor level are asked for: a list can be scored by several predicates.
    """
    floor = {
        row["pair_list_sha256"]: row
        for row in rows
        if is_random(row) and parse_row(row["row"])[:3] == name[:3]
    }
    if not lists <= set(floor):
        return None
    episodes = sum(floor[digest]["episodes"] for digest in lists)
    return 100 * sum(floor[digest]["successes"] for digest in lists) / episodes


def success_text(values: Sequence[float]) -> str:
    """``61.0 ± 2.0`` over training seeds, or ``61.0`` for one."""
    mean, sd = mean_sd(values)
    return f"{mean:.1f}" if sd is None else f"{mean:.1f} ± {sd:.1f}"


def number(value: float | None, digits: int = 1) -> str:
    """A rounded number or the mark of a missing one."""
    return MISSING if value is None else f"{value:.{digits}f}"


def _overview(family: list[Cell], tasks: list[str]) -> str:
    """Methods by tasks, with the macro average per training seed where no cell is missing.

    Empty where the family has rows at levels of a factor only.
    """
    lines = []
    for label in sorted({cell.label for cell in family}):
        by_task = {c.name.task: c for c in family if c.label == label and not c.name.factor}
        texts = [success_text(by_task[t].by_seed) if t in by_task else MISSING for t in tasks]
        seeds = [by_task[t].by_seed for t in tasks if t in by_task]
        whole = len(seeds) == len(tasks) and len({len(s) for s in seeds}) == 1
        macro = success_text(np.mean(seeds, axis=0).tolist()) if whole else MISSING
        if by_task:
            lines.append([label, *texts, macro])
    return table(["method", *tasks, "macro"], lines) if lines else ""


def _median(cell: Cell, key: str) -> str:
    values = [row[key] for row in cell.rows if row.get(key) is not None]
    return number(float(np.median(values))) if values else MISSING


def _secondary(cell: Cell) -> str:
    """Further predicates scored on the same episodes, where every row has them: their means [%]."""
    scored = [row.get("secondary_metrics") or {} for row in cell.rows]
    names = [n for n in FAMILIES if n in scored[0]] + sorted(set(scored[0]) - set(FAMILIES))
    texts = [
        f"{name} {np.mean([metrics[name]['success_pct'] for metrics in scored]):.1f}"
        for name in names
        if all(name in metrics for metrics in scored)
    ]
    return ", ".join(texts) or MISSING


def _detail(cell: Cell, rows: list[Row]) -> list[str]:
    solved = sum(row["successes"] for row in cell.rows)
    total = sum(row["episodes"] for row in cell.rows)
    low, high = wilson(solved, total)
    task = "/".join(filter(None, (cell.name.task, cell.name.factor)))
    floor = random_on({row["pair_list_sha256"] for row in cell.rows}, rows, cell.name)
    budget = "; ".join(sorted({_budget(row) for row in cell.rows}))
    return [
        task,
        cell.label,
        success_text(cell.by_seed),
        _secondary(cell),
        f"{100 * low:.1f}–{100 * high:.1f}",
        str(total),
        str(len(cell.by_seed)),
        number(floor),
        _median(cell, "plan_ms_p50"),
        _median(cell, "plan_ms_p99"),
        budget,
        "; ".join(sorted({str(row.get("inputs") or MISSING) for row in cell.rows})),
        "yes" if all(row.get("calibrated") is True for row in cell.rows) else "no",
    ]


def _budget(row: Row) -> str:
    """Candidates of a plan, and in how many views each is judged where that is more than one."""
    views = row.get("views") or 1
    return str(row.get("budget_class") or MISSING) + (f" × {views} views" if views > 1 else "")


def _zero_shot(family: list[Cell], rows: list[Row], results: Path) -> list[str]:
    """Per task and method: factors, levels, and where there is one, the picture of the levels."""
    parts = []
    for task, label in sorted({(c.name.task, c.label) for c in family if not is_random(c.rows[0])}):
        by_level = {c.name.factor: c for c in family if (c.name.task, c.label) == (task, label)}
        nominal = list(by_level[NONE].rows) if NONE in by_level else []
        floor = _floor(by_level[NONE], rows) if nominal else None
        scores = [
            score(level, list(cell.rows), nominal, _floor(cell, rows), floor)
            for level, cell in by_level.items()
        ]
        picture = results / f"{ZERO_SHOT}-{task}.png"
        shown = f"![levels of {task}](../results/{picture.name})\n" if picture.is_file() else ""
        tables = (factor_table(scores), level_table(scores), shown)
        parts += [f"### {task}, {label}\n", *filter(None, tables)]
    return parts


def _floor(cell: Cell, rows: list[Row]) -> float | None:
    return random_on({row["pair_list_sha256"] for row in cell.rows}, rows, cell.name)


DETAIL = (
    "task", "method", "success %", "also %", "Wilson 95 %", "n", "training seeds", "random %",
    "plan ms p50", "plan ms p99", "budget class", "inputs", "calibrated",
)  # fmt: skip


def render_tables(results: Path) -> str:
    """Markdown over all rows below ``results``, one section per row family.

    Raises:
        DataError: see :func:`load_all`.
    """
    rows = load_all(results)
    grouped = cells(rows)
    found = {cell.name.family for cell in grouped}
    order = [f for f in FAMILIES if f in found] + sorted(found - set(FAMILIES))
    parts = [HEADER] if order else [HEADER, "No rows yet.\n"]
    for family in order:
        of_family = [cell for cell in grouped if cell.name.family == family]
        if family == ZERO_SHOT:
            parts += [f"## {family}\n", *_zero_shot(of_family, rows, results)]
            continue
        tasks = sorted({cell.name.task for cell in of_family})
        lines = [_detail(cell, rows) for cell in of_family]
        tables = (_overview(of_family, tasks), table(DETAIL, lines))
        parts += [f"## {family}\n", *filter(None, tables)]
    return "\n".join(parts)
