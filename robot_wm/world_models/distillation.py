"""What decides the distillation of a world model's latent, whatever its family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Within,
    check_fields,
)


@dataclass(frozen=True)
class DistillConfig:
    """A latent that is learned from another model's, see ``robot-wm distill``.

    Attributes:
        steps, batch: optimizer steps, frames a step.
        other_looks: share of a step's frames that are in other looks, where there are some.
        color_jitter: frames as recorded that are seen in colours changed at random, too
            (:mod:`robot_wm.data.color_jitter`), as a share of all of them; they are other
            looks.
        lr, warmup, weight_decay, clip, ema: see ``world_models.jepa.training.config``.
        evaluate_every, checkpoint_every, log_every: in steps.
    """

    steps: Count = 8_000
    batch: Annotated[int, Within(2, 10**5)] = 256
    other_looks: Fraction = 0.5
    color_jitter: Fraction = 0.0
    lr: Annotated[float, Within(above=0, high=10)] = 2e-3
    warmup: Natural = 200
    weight_decay: NonNegative = 0.01
    clip: Positive = 1.0
    ema: Annotated[float, Within(0, below=1)] = 0.999
    evaluate_every: Natural = 1_000
    checkpoint_every: Count = 1_000
    log_every: Natural = 100

    def __post_init__(self) -> None:
        check_fields(self, "distill")


# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("evaluate_every", "checkpoint_every", "log_every")
