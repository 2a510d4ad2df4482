"""What trainings on lessons share: one module and its average, warm-up, then half a cosine."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.schedule import Schedule


class LessonTraining(Training):
    """A training of the live module of ``state``; its average is what comes out.

    Args:
        log_every, checkpoint_every: in steps.
    """

    state: Averaged[Any]

    def __init__(
        self, schedule: Schedule, steps: int, state: Averaged[Any], log_every: int,
        checkpoint_every: int,
    ) -> None:  # fmt: skip
        self.schedule, self.state, self.trained = schedule, state, state.live
        self.generators = {}
        self.pace = Pace(
            steps, log_every, 0, checkpoint_every, schedule.weight_decay, schedule.clip
        )
        self.last = torch.zeros(())

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        c = self.schedule
        # Peak times a share, in this order: otherwise the last bit differs from earlier trainings.
        return c.lr * warmup_cosine(1.0, step, self.pace.steps, c.warmup)

    @abstractmethod
    def drawn_loss(self, step: int) -> Tensor:
        """Loss of the rows of a step, which are drawn by seed and step alone."""

    def loss(self, step: int) -> Tensor:
        """That loss, remembered for the log."""
        loss = self.drawn_loss(step)
        self.last = loss.detach()
        return loss

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average."""
        self.state.update(self.schedule.ema, step)

    def line(self) -> dict[str, Any]:
        """Loss of the last step."""
        return {"loss": float(self.last)}
