"""What the measurements of all claims have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.commands.compare import evaluated, held_out, variant
from planning.ledger import measurements
from robot_wm.cli.compose import Session, compose
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.provenance import provenance
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings

Row = dict[str, Any]
NAMED = ("name=", "data_name=", "encoder_name=")


@dataclass(frozen=True)
class Measurement:
    """One row that is to be there.

    Attributes:
        claim, model, setting: see :class:`planning.ledger.measurements.Known`.
        prepare: makes what is measured where it is missing; what it was made of, by keys of the
            row. A row on file with the same ones is not measured again.
        measure: gives ``n``, ``values`` and further keys of the row.
    """

    claim: int
    model: str
    setting: float
    prepare: Callable[[], Row]
    measure: Callable[[], Row]

    def row(self, settings: Settings, folder: Path) -> Row:
        """The row on file, or measured and added; files are called after the task of their rows."""
        say(f"claim {self.claim}: {self.model}, {self.setting:g}")
        asked: Row = {
            "claim": self.claim, "task": settings.task.name, "model": self.model,
            "setting": self.setting, "seed": settings.seed, **self.prepare(),
        }  # fmt: skip
        path = folder / f"{asked['task']}.jsonl"
        if (known := measurements.find(path, asked)) is not None:
            say("its row is there")
            return known
        row = {**asked, **self.measure(), **provenance()}
        measurements.add_rows(path, [row])
        return row


def seeded(name: str, seed: int) -> str:
    """A name that another training seed does not share."""
    return f"{name}-seed{seed}" if seed else name


def modelled(session: Session, family: str) -> Session:
    """The run with another world model; that of the first seed is ``robot-wm compare``'s, too."""
    settings = session.settings
    return variant(session, family, seeded(f"{settings.name}-{family}", settings.seed))


def going_on(
    session: Session, family: str, called: str, start: Path, words: tuple[str, ...]
) -> Session:
    """The run with a world model that takes over the first parts of the one in ``start``.

    Args:
        words: overrides, among them no steps for these parts.
    """
    # What needs the folder is checked with it: as an override, it would want quotes.
    base = variant(session, family, called)
    made = compose((*base.overrides, *words))
    made = made.replace(train={**made.train, "parts_of": str(start)})
    made.check()
    return Session(made, base.overrides)


def solved(session: Session, model: str, folders: tuple[Path, Path]) -> tuple[int, float]:
    """Held-out pairs, and per cent of them that are reached, as ``robot-wm compare`` does it."""
    result = evaluated(session, model, held_out(session.settings), folders, "")
    return len(result.episodes), round(100 * float(result.hits().mean()), 4)


def planned(session: Session, **planner: Any) -> Session:
    """The run with other options of the planner."""
    settings = session.settings
    return replace(session, settings=settings.replace(planner=replace(settings.planner, **planner)))


def render(rows: list[Row]) -> str:
    """Rows as a table, Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    head = ["claim", "task", "model", "setting", "seed", "n", *names]
    body = [
        [*(f"{row[key]:g}" if key == "setting" else str(row[key]) for key in head[:6]),
         *(f"{row['values'][name]:.3f}" if name in row["values"] else "--" for name in names)]
        for row in rows
    ]  # fmt: skip
    return table(head, body)
