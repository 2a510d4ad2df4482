"""A collection as a stage: reused by name, recorded where episodes are missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.cli.paths import MIRRORED, SEEDS
from robot_wm.cli.pipeline import check_same
from robot_wm.cli.settings import Settings
from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import (
    MANIFEST,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    pass


def dataset(settings: Settings, collection: str) -> Path:
    """One collection of the task, recorded where episodes are missing.

    Raises:
        DataError: a collection that is not recorded here (practice, a robot's log) is missing.
    """
    from robot_wm.core.storage.records import read_record
    from robot_wm.data.episodes import SCHEMA, Schema, shard_path
    from sim.collection.collect import collect, stable
    from sim.collection.mirror import mirror

    if collection.endswith(MIRRORED):
        source = dataset(settings, collection.removesuffix(MIRRORED))
        return mirror(source, settings.dataset_path(settings.task.name, collection))
    if collection not in SEEDS:
        root = settings.dataset_path(settings.task.name, collection)
        if not (root / SCHEMA).is_file():
            head, tail = f"{settings.task.name}-", settings.suffix
            kept = sorted(path.parent.name for path in root.parent.glob(f"{head}*{tail}/{SCHEMA}"))
            names = [name.removeprefix(head).removesuffix(tail) for name in kept]
            raise DataError(
                f"no collection {collection!r} in {root}",
                ", ".join([*SEEDS, *(n for n in names if n not in SEEDS)]),
                "practice comes from `robot-wm improve`; put a robot's log or other episodes into "
                "that folder",
            )
        return root
    config = settings.collect_config(collection)
    root = settings.dataset_path(config.task, collection)
    if (root / SCHEMA).is_file():
        stored = read_record(root / SCHEMA, Schema).config
        check_same(root, stored, stable(config), "delete that folder")
    shards = -(-config.episodes // config.episodes_per_shard)
    if all((shard_path(root, index) / MANIFEST).is_file() for index in range(shards)):
        return root
    say(f"collecting {config.episodes} episodes of {config.task}/{collection} into {root}")
    return collect(config, root)
