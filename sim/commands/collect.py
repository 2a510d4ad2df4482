"""``robot-wm collect``: record both collections of a task, and what `collect.also` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robot_wm.cli.paths import SEEDS
from sim.collection.stage import dataset

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


def run(session: Session) -> int:
    """Record what is missing and print the folders."""
    for collection in dict.fromkeys((*SEEDS, *session.settings.collect.also)):
        print(f"episodes: {dataset(session.settings, collection)}")
    return 0
