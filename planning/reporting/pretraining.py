"""What the encoder's pretraining is worth: one chain over several encoders, and its table."""

from __future__ import annotations

from pathlib import Path

from planning.evaluation.goal_pairs import ZERO_SHOT
from planning.reporting.tables import MISSING, Cell, cells, load_all
from robot_wm.core.storage.markdown import table

FOLDER = "pretraining"  # of rows, below results; encoders are told apart by their modifiers
HEADER = """## pretraining

What a pretrained encoder is worth: projector, predictor, actor and critic trained alike (data,
steps, seed) over each encoder, which is frozen, and the same goals pursued by the same planner.
Success [%] of held-out pairs, their number in brackets; `@policy_only` is the actor without a
search. Levels of `zs` were in no training.
"""


def render_section(results: Path) -> str:
    """The section of ``docs/results.md``; empty where there are no rows.

    Raises:
        DataError: see :func:`planning.reporting.tables.load_all`.
    """
    found = cells(load_all(results / FOLDER))
    tasks = sorted({cell.name.task for cell in found})
    parts = [f"### {task}\n\n{_table([c for c in found if c.name.task == task])}" for task in tasks]
    return "\n".join([HEADER, *parts]) if parts else ""


def _table(found: list[Cell]) -> str:
    """Encoders by conditions."""
    conditions = list(dict.fromkeys(_condition(cell) for cell in sorted(found, key=_order)))
    scores = {(cell.label, _condition(cell)): _text(cell) for cell in found}
    lines = [
        [condition, *(scores.get((label, condition), MISSING) for label in _labels(found))]
        for condition in conditions
    ]
    return table(["", *_labels(found)], lines)


def _labels(found: list[Cell]) -> list[str]:
    return sorted({cell.label for cell in found})


def _order(cell: Cell) -> tuple[bool, str]:
    return cell.name.family == ZERO_SHOT, _condition(cell)


def _condition(cell: Cell) -> str:
    return "/".join(filter(None, (cell.name.family, cell.name.factor)))


def _text(cell: Cell) -> str:
    pairs = sum(row["episodes"] for row in cell.rows)
    return f"{100 * sum(row['successes'] for row in cell.rows) / pairs:.1f} ({pairs})"
