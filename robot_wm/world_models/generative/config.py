"""What the trainings of all generating world models have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from robot_wm.core.config import (
    Count,
    Device,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    check_fields,
)
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Size, sides, spelled
from robot_wm.world_models.generative.model import COSTS

Width = Annotated[int, Within(1, 4096)]
# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("threads", "eval_every", "checkpoint_every", "log_every", "device")


class Stage(NamedTuple):
    """Optimizer steps, and windows of each."""

    steps: int
    windows: int


@dataclass(frozen=True)
class GeneratorConfig(ABC):
    """A training in stages, one network after the other.

    Attributes:
        task: must be the data set's.
        window: block frames per training window.
        batch: windows a step of the last stage.
        horizon: blocks up to which it is validated.
        width, depth, heads: of the dynamics' transformer.
        patch: side of what is one token of a picture [px].
        motion: extra weight of places that change, see :func:`robot_wm.training.losses.moving`.
        lr, warmup, weight_decay, clip, ema: AdamW with linear warm-up and cosine decay to 0 in each
            stage, gradient norm clip, decay of the weight average that is validated and shipped.
        seed, threads, device: of torch; the command line sets the threads, here they are recorded.
        eval_every, checkpoint_every, log_every: in steps.
        cost: the shipped model's step cost: native, pixels or shared.

    Raises:
        ConfigError: a value outside its range.
    """

    task: str
    window: Annotated[int, Within(3, 4096)] = 4
    batch: Count = 8
    horizon: Annotated[int, Within(1, 100)] = 5
    width: Width = 128
    depth: Width = 4
    heads: Width = 4
    patch: Width = 8
    motion: NonNegative = 1.0
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    warmup: Natural = 100
    weight_decay: NonNegative = 0.01
    clip: Positive = 1.0
    ema: Annotated[float, Within(0, below=1)] = 0.99
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 2
    device: Device = "cpu"
    eval_every: Count = 2_000
    checkpoint_every: Count = 500
    log_every: Count = 100
    cost: str = "native"

    @property
    @abstractmethod
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in their order."""

    @property
    def total(self) -> int:
        """All optimizer steps."""
        return sum(stage.steps for stage in self.stages.values())

    def stage_of(self, step: int) -> tuple[str, int]:
        """The stage to which a step (from 1) belongs, and how many steps came before it."""
        start = 0
        for name, stage in self.stages.items():
            if step <= start + stage.steps:
                return name, start
            start += stage.steps
        raise IndexError(step)

    def __post_init__(self) -> None:
        check_fields(self, "train")
        for name, good, accepted in (
            ("cost", self.cost in COSTS, f"one of {COSTS}"),
            ("width", self.width % (4 * self.heads) == 0, "a multiple of 4 and of heads"),
        ):
            if not good:
                raise ConfigError(
                    f"{name} = {getattr(self, name)!r}", accepted, "change the training config"
                )


def grid_of(size: Size, cell: int) -> tuple[int, int]:
    """Rows and columns of square cells in a picture.

    Raises:
        ConfigError: they do not divide it.
    """
    height, width = sides(size)
    if height % cell or width % cell:
        raise ConfigError(
            f"pictures of {spelled(size)} pixels in cells of {cell}",
            "cells that divide both sides", "change the patch, or collect at another size",
        )  # fmt: skip
    return height // cell, width // cell
