"""What the encoder's pretraining is worth: one chain over several encoders, and its table."""

from __future__ import annotations

from pathlib import Path

from planning.evaluation.goal_pairs import ZERO_SHOT
from planning.reporting.tables import MISSING, Cell, Row, cells, load_all, number, random_on
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
    found, floors = cells(load_all(results / FOLDER)), load_all(results)
    parts = []
    for task in sorted({cell.name.task for cell in found}):
        shown = _table([cell for cell in found if cell.name.task == task], floors)
        parts.append(f"### {task}\n\n{shown}")
    return "\n".join([HEADER, *parts]) if parts else ""


def _table(found: list[Cell], floors: list[Row]) -> str:
    """Conditions by encoders, and random actions on the same pairs, whose rows lie with all."""
    labels = sorted({cell.label for cell in found})
    scores = {(_condition(cell), cell.label): _text(cell) for cell in found}
    lines = []
    for condition, cell in {_condition(cell): cell for cell in sorted(found, key=_order)}.items():
        random = random_on({row["pair_list_sha256"] for row in cell.rows}, floors, cell.name)
        each = [scores.get((condition, label), MISSING) for label in labels]
        lines.append([condition, *each, number(random)])
    return table(["", *labels, "random"], lines)


def _order(cell: Cell) -> tuple[bool, str]:
    return cell.name.family == ZERO_SHOT, _condition(cell)


def _condition(cell: Cell) -> str:
    return "/".join(filter(None, (cell.name.family, cell.name.factor)))


def _text(cell: Cell) -> str:
    pairs = sum(row["episodes"] for row in cell.rows)
    return f"{100 * sum(row['successes'] for row in cell.rows) / pairs:.1f} ({pairs})"
