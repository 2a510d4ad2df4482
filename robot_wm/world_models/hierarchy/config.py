"""How the upper level of a hierarchy is trained, and what it looks ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, NonNegative, Within
from robot_wm.training.schedule import Schedule
from robot_wm.world_models.config import RunConfig, Width

# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("threads", "checkpoint_every", "log_every")


@dataclass(frozen=True)
class HierarchyConfig(Schedule, RunConfig):
    """Upper level over a trained house world model, whose latent both levels share.

    Attributes:
        low: the lower level: ``shipped``, the name of a model of this task, or its folder.
        stride: blocks of an upper step; the lower level's horizon should reach as far.
        macro: numbers that stand for the blocks of an upper step.
        ahead: upper steps of an upper plan.
        plans: upper plans that are weighed against each other.
        heads, width, blocks: components of the upper actor, size of both networks.
        noise: of the codes in training, so that near codes mean alike.
        most: blocks to a goal in hindsight, at most.
        demonstration_noise: the actor learns from demonstrators with at most this action noise.
        steps, batch: optimizer steps, strides a step.
    """

    low: str = "shipped"
    stride: Annotated[int, Within(2, 100)] = 5
    macro: Width = 8
    ahead: Annotated[int, Within(1, 100)] = 4
    plans: Annotated[int, Within(1, 2**16)] = 64
    heads: Annotated[int, Within(1, 1024)] = 8
    width: Width = 192
    blocks: Width = 4
    noise: NonNegative = 0.1
    most: Count = 40
    demonstration_noise: NonNegative = 0.3
    steps: Count = 6_000
    batch: Annotated[int, Within(2, 10**6)] = 512
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    checkpoint_every: Count = 1_000
