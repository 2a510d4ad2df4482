"""What the trainings of models that draw pictures have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from robot_wm.core.config import Count, Natural, NonNegative, Positive, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Size, sides, spelled
from robot_wm.world_models.config import FREE as COMMON
from robot_wm.world_models.config import AveragedConfig, FamilyConfig, RunConfig, Width
from robot_wm.world_models.pixels.model import Cost

FREE = (*COMMON, "parts_of")  # see there; the hash of what was taken over is a parent


class Stage(NamedTuple):
    """Optimizer steps, and windows of each."""

    steps: int
    windows: int


@dataclass(frozen=True)
class TakesParts(RunConfig):
    """A training whose first parts may be those of a stored model, which are not trained again.

    Attributes:
        PARTS: what begins the names of the tensors that are taken over.
        LEARNT: options that say for how many steps these parts are trained.
        parts_of: folder of that world model; then these steps are 0. Empty trains everything.
    """

    PARTS: ClassVar[tuple[str, ...]]
    LEARNT: ClassVar[tuple[str, ...]]
    parts_of: str = ""

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """See the base."""
        steps = [getattr(self, name) for name in self.LEARNT]
        good = not any(steps) if self.parts_of else all(steps)
        accepted = "with parts_of 0 steps, without it 1 or more"
        return {**super().checks(), ", ".join((*self.LEARNT, "parts_of")): (good, accepted)}


@dataclass(frozen=True)
class PixelConfig(FamilyConfig):
    """A training on frames of the canvas (``pixels.frames``); its last weights are shipped.

    Attributes:
        window: block frames of a training sequence.
        foreground: extra weight of pixels unlike the mean frame, see ``frames.pixel_loss``.
        clip: largest gradient norm.
        cost: the shipped model's step cost: native, pixels or shared (``pixels.model``).
        held_out: validation windows that open-loop errors are measured on; 0 measures none.
    """

    weight_decay: ClassVar[float] = 0.0
    window: Annotated[int, Within(3, 4096)] = 16
    foreground: NonNegative = 10.0
    clip: Positive = 100.0
    cost: Cost = "native"
    held_out: Natural = 64
    eval_every: Count = 1000

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """See the base."""
        return {"window": (self.window > self.horizon, f"above the horizon ({self.horizon})")}


@dataclass(frozen=True)
class GeneratorConfig(AveragedConfig):
    """A training in stages, one network after the other.

    Attributes:
        window: block frames per training window.
        batch: windows a step of the last stage.
        width, depth, heads: of the dynamics' transformer.
        patch: side of what is one token of a picture [px].
        motion: extra weight of places that change, see :func:`robot_wm.training.losses.moving`.
        cost: the shipped model's step cost: native, pixels or shared (``pixels.model``).
    """

    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    warmup: Natural = 100
    ema: Annotated[float, Within(0, below=1)] = 0.99
    window: Annotated[int, Within(3, 4096)] = 4
    batch: Count = 8
    width: Width = 128
    depth: Width = 4
    heads: Width = 4
    patch: Width = 8
    motion: NonNegative = 1.0
    cost: Cost = "native"

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

    def span(self, step: int) -> tuple[int, int]:
        """See the base."""
        name, start = self.stage_of(step)
        return start, self.stages[name].steps

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """See the base."""
        good = self.width % (4 * self.heads) == 0
        return {"width": (good, "a multiple of 4 and of heads")}


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
