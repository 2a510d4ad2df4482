"""What decides the distillation of a world model's latent, whatever its family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, Fraction, Natural, Within, check_fields
from robot_wm.training.schedule import Schedule


@dataclass(frozen=True)
class DistillConfig(Schedule):
    """A latent that is learned from another model's, see ``robot-wm distill``.

    Attributes:
        steps, batch: optimizer steps, frames a step.
        other_looks: share of a step's frames that are in other looks, where there are some.
        color_jitter: frames as recorded that are seen in colours changed at random, too
            (:mod:`robot_wm.data.color_jitter`), as a share of all of them; they are other
            looks.
        encoder: the encoder named by ``encoder_name`` is no more than a beginning: it learns, too,
            through all looks to the latent, and is frozen afterwards as ``<name>-distilled``. It
            takes many times longer; what the frozen one does not tell apart may be learned.
        evaluate_every, checkpoint_every, log_every: in steps.
    """

    steps: Count = 8_000
    batch: Annotated[int, Within(2, 10**5)] = 256
    other_looks: Fraction = 0.5
    color_jitter: Fraction = 0.0
    encoder: bool = False
    lr: Annotated[float, Within(above=0, high=10)] = 2e-3
    evaluate_every: Natural = 1_000
    checkpoint_every: Count = 1_000
    log_every: Natural = 100

    def __post_init__(self) -> None:
        check_fields(self, "distill")


# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("evaluate_every", "checkpoint_every", "log_every")
