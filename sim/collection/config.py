"""What a task's data are: the sections ``task`` and ``collect`` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from robot_wm.core.config import Count
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Sides, Size
from robot_wm.core.storage.atomic_io import check_name


@dataclass(frozen=True)
class TaskSettings:
    """One task and its data.

    Attributes:
        name: registry name of the scene with its task.
        steps: control steps per recorded episode.
        nominal, varied: episodes of the unvaried and of the randomised collection.
        train_on: collections that train its world model; the root's ``train_on`` overrides.
        mix: behaviours with their share and noise levels.
        image_size: of its pictures [px], in which what matters can be told apart; the root's
            ``image_size`` overrides.
        encoder_tasks: tasks whose collections pretrain its encoder, this one alone unless said; the
            root's ``encoder_tasks`` overrides.
    """

    name: str
    steps: Count
    nominal: Count
    varied: Count
    train_on: tuple[str, ...]
    mix: tuple[dict[str, Any], ...]
    image_size: Annotated[Size, Sides(8, 1024)] = 64
    encoder_tasks: tuple[str, ...] = ("${task.name}",)

    def __post_init__(self) -> None:
        if not self.train_on:
            raise ConfigError("task.train_on = []", "one name or more", "name one in task.train_on")
        for collection in self.train_on:
            check_name(collection, "task.train_on")


@dataclass(frozen=True)
class CollectSettings:
    """How episodes are stored.

    Attributes:
        frame_every: control steps between two stored frames; the block of the world model.
        episodes_per_shard: unit of atomic writing and of parallel work.
        looks: episodes that a collection in other looks draws again, the first of its source.
        also: collections that `robot-wm collect` makes, too, e.g. [nominal-looks].
    """

    frame_every: Count = 5
    episodes_per_shard: Count = 50
    looks: Count = 2000
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for collection in self.also:
            check_name(collection, "collect.also")
