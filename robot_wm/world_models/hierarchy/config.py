"""How the upper level of a hierarchy is trained, and what it looks ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import (
    Count,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    check_fields,
)

# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("threads", "checkpoint_every", "log_every")


@dataclass(frozen=True)
class HierarchyConfig:
    """Upper level over a trained house world model, whose latent both levels share.

    Attributes:
        task: must be the data set's.
        low: the lower level: ``shipped``, the name of a model of this task, or its folder.
        stride: blocks of an upper step; the lower level's horizon should reach as far.
        macro: numbers that stand for the blocks of an upper step.
        ahead: upper steps of an upper plan.
        plans: upper plans that are weighed against each other.
        heads, width, blocks: components of the upper actor, size of both networks.
        noise: of the codes in training, so that near codes mean alike.
        most: blocks to a goal in hindsight, at most.
        demonstration_noise: the actor learns from demonstrators with at most this action noise.
        steps, batch, lr, warmup, weight_decay, clip, ema: as for the lower level.
        seed, threads: of torch; the command line sets the threads, here they are recorded.
        checkpoint_every, log_every: in steps.

    Raises:
        ConfigError: a value outside its range.
    """

    task: str
    low: str = "shipped"
    stride: Annotated[int, Within(2, 100)] = 5
    macro: Annotated[int, Within(1, 4096)] = 8
    ahead: Annotated[int, Within(1, 100)] = 4
    plans: Annotated[int, Within(1, 2**16)] = 64
    heads: Annotated[int, Within(1, 1024)] = 8
    width: Annotated[int, Within(1, 4096)] = 192
    blocks: Annotated[int, Within(1, 4096)] = 4
    noise: NonNegative = 0.1
    most: Count = 40
    demonstration_noise: NonNegative = 0.3
    steps: Count = 6_000
    batch: Annotated[int, Within(2, 10**6)] = 512
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    warmup: Natural = 200
    weight_decay: NonNegative = 0.01
    clip: Positive = 1.0
    ema: Annotated[float, Within(0, below=1)] = 0.999
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 2
    checkpoint_every: Count = 1_000
    log_every: Count = 100

    def __post_init__(self) -> None:
        check_fields(self, "train")
