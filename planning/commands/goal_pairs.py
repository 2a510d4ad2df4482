"""``robot-wm pairs``: draw the lists of held-out start/goal pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planning.evaluation.stage import draw_pairs

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


def run(session: Session) -> int:
    """Draw and write; the same data and settings always give the same lists."""
    for seed, pairs in draw_pairs(session.settings, session.settings.publish).items():
        print(f"{pairs.family}/{pairs.task} seed {seed}: {len(pairs.pairs)} pairs, {pairs.sha256}")
    return 0
