"""A collection as a stage: reused by name, recorded where episodes are missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.cli.paths import MIRRORED, SEEDS
from robot_wm.cli.settings import Settings
from robot_wm.core.aliases import current
from robot_wm.core.config import build
from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import check_same
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    import numpy as np

    from sim.collection.collect import CollectConfig


def dataset(settings: Settings, collection: str) -> Path:
    """One collection of the task, recorded where episodes are missing.

    Raises:
        DataError: a collection that is not recorded here (practice, a robot's log) is missing.
    """
    from robot_wm.core.storage.records import read_record
    from robot_wm.data.episodes import Schema
    from robot_wm.data.formats.base import NATIVE, SCHEMA, format_of, is_dataset
    from robot_wm.data.looks import parted
    from robot_wm.data.shards import is_whole
    from sim.collection.collect import collect, stable
    from sim.collection.looks import repaint
    from sim.collection.mirror import mirror

    root = settings.dataset_path(settings.task.name, collection)
    if is_dataset(root) and format_of(root) != NATIVE:
        return root  # somebody else's, and whole: nothing is added to it
    if collection.endswith(MIRRORED):
        return mirror(dataset(settings, collection.removesuffix(MIRRORED)), root)
    source, number = parted(collection)
    if number:
        count, workers = settings.collect.looks, settings.workers
        return repaint(dataset(settings, source), root, number, count, workers)
    if collection not in SEEDS:
        if not is_dataset(root):
            raise _no_collection(settings, collection, root)
        return root
    config = collect_config(settings, collection)
    root = settings.dataset_path(config.task, collection)
    if is_dataset(root):
        stored = read_record(root / SCHEMA, Schema).config
        check_same(root, stored, stable(config), "delete that folder", type(config))
    shards = range(-(-config.episodes // config.episodes_per_shard))
    if all(is_whole(root, index) for index in shards):
        return root
    say(f"collecting {config.episodes} episodes of {config.task}/{collection} into {root}")
    return collect(config, root)


def _no_collection(settings: Settings, collection: str, root: Path) -> DataError:
    from robot_wm.data.formats.base import SCHEMA

    head, tail = f"{settings.task.name}-", settings.suffix
    stored = sorted(path.parent.name for path in root.parent.glob(f"{head}*{tail}/{SCHEMA}"))
    names = [name.removeprefix(head).removesuffix(tail) for name in stored]
    return DataError(
        f"no collection {collection!r} in {root}",
        ", ".join([*SEEDS, *(n for n in names if n not in SEEDS)]),
        "practice comes from `robot-wm self-improve`; put a robot's log or other episodes into "
        "that folder",
    )


def collect_config(settings: Settings, collection: str) -> CollectConfig:
    """Configuration of one collection of this task.

    Raises:
        ConfigError: behaviours that cannot be mixed like this.
    """
    from sim.collection.collect import CollectConfig, Mix

    task = settings.task
    return CollectConfig(
        task=task.name,
        collection=collection,
        episodes=getattr(task, collection),
        steps=task.steps,
        mix=tuple(
            build(Mix, current("collect", m), f"task.mix[{i}]") for i, m in enumerate(task.mix)
        ),
        variation=("all",) if collection == "varied" else (),
        image_size=settings.image_size,
        frame_every=settings.collect.frame_every,
        seed=SEEDS[collection],
        episodes_per_shard=settings.collect.episodes_per_shard,
        workers=settings.workers,
    )


def first_frames(settings: Settings, split: str, count: int) -> np.ndarray:
    """The first four images of the first episodes of a split, uint8 ``[count, S, S, 3]``.

    An episode is a function of the configuration and its number, so only those are recorded.
    """
    import numpy as np

    from robot_wm.data.episodes import split_of
    from sim import make
    from sim.collection.collect import record

    config, frames = collect_config(settings, "nominal"), list[np.ndarray]()
    env = make(config.task, config.image_size)
    for number in range(config.episodes):
        if split_of(config.task, config.collection, number) == split:
            frames += list(record(env, config, number).frames[:4])
        if len(frames) >= count:
            break
    env.close()
    return np.stack(frames[:count])
