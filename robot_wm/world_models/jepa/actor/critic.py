"""The critic: how many blocks it still is to the goal, learned from ways that a teacher found.

The training of the world model teaches it in hindsight, along episodes that wander; a lesson says
how far it truly is. Its sum with the gap in the latent judges plans (``cost=both``), so that a
detour is worth what it costs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.config import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    check_fields,
)
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, fit, generators_of
from robot_wm.training.losses import log_steps
from robot_wm.training.optim import warmup_cosine
from robot_wm.world_models.jepa.actor.dataset import Taught
from robot_wm.world_models.jepa.dynamics import GoalDistance


@dataclass(frozen=True)
class CriticConfig:
    """How a critic is tuned on lessons.

    Attributes:
        steps: optimizer steps; 0 leaves the critic as it is.
        batch: lesson rows a step.
        hindsight: rows whose goal is a later state of the same way, as a share of ``batch``.
        imagined: share of the lesson rows that are seen in imagination.
        ahead: control steps to a goal in hindsight, at most.
        lr, warmup, weight_decay, clip, ema: see ``world_models.jepa.training.config``.
        seed: of the rows.
        checkpoint_every, log_every: in steps.
    """

    steps: Natural = 4_000
    batch: Annotated[int, Within(2, 10**6)] = 768
    hindsight: NonNegative = 0.5
    imagined: Fraction = 0.5
    ahead: Count = 40
    lr: Annotated[float, Within(above=0, high=10)] = 5e-4
    warmup: Natural = 200
    weight_decay: NonNegative = 0.01
    clip: Positive = 1.0
    ema: Annotated[float, Within(0, below=1)] = 0.999
    seed: Seed = 77
    checkpoint_every: Count = 1_000
    log_every: Natural = 100

    def __post_init__(self) -> None:
        check_fields(self, "teach.actor.critic")


def train_critic(
    config: CriticConfig, taught: Taught, start: GoalDistance, out: Path, facts: Mapping[str, Any]
) -> GoalDistance:
    """The critic after its lessons; ``start`` stays as it is.

    Args:
        out: run folder; an interrupted run there goes on.
        facts: what decides the lessons.
    """
    tuned = copy.deepcopy(start).eval()
    if config.steps:
        fit(partial(CriticTraining, config, taught, tuned, Path(out), facts), out)
    return tuned.requires_grad_(False)


class CriticTraining(Training):
    """A critic, learning how far it is to the goals of lessons; see :func:`train_critic`.

    Args:
        tuned: the critic to begin with, and what the average is written into.
    """

    title, section = "train the critic", "teach.actor.critic"
    state: Averaged[GoalDistance]

    def __init__(
        self,
        config: CriticConfig,
        taught: Taught,
        tuned: GoalDistance,
        out: Path,
        facts: Mapping[str, Any],
    ) -> None:
        self.config, self.taught, self.tuned, self.out = config, taught, tuned, out
        self.identity = {**asdict(config), **facts}
        self.state = Averaged(copy.deepcopy(tuned).train().requires_grad_(True))
        self.trained, self.generators = self.state.live, {}
        self.pace = Pace(
            config.steps, config.log_every, 0, config.checkpoint_every, config.weight_decay,
            config.clip,
        )  # fmt: skip
        self.last = torch.zeros(())

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        c = self.config
        return warmup_cosine(c.lr, step, c.steps, c.warmup)

    def loss(self, step: int) -> Tensor:
        """Mean squared error of log(1 + blocks to go)."""
        c, (rng, _) = self.config, generators_of(self.config.seed, step)
        draws = [self.taught.draw(c.batch, rng, c.imagined, 0.0)]
        if count := round(c.hindsight * c.batch):
            draws.append(self.taught.wander(count, rng, c.ahead))
        z, goal, togo = (
            torch.cat([getattr(draw, name) for draw in draws]) for name in ("z", "goal", "togo")
        )
        loss = log_steps(self.state.live(z, goal), togo / self.taught.block)
        self.last = loss.detach()
        return loss

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average."""
        self.state.update(self.config.ema, step)

    def line(self) -> dict[str, Any]:
        """Loss of the last step."""
        return {"loss": float(self.last)}

    def finish(self) -> Path:
        """Write the average into the critic."""
        self.tuned.load_state_dict(self.state.ema.state_dict())
        return self.out


@torch.no_grad()
def validate_critic(critic: GoalDistance, taught: Taught) -> dict[str, float]:
    """Mean squared error of log(1 + blocks to go) on held-out lessons.

    Those of states seen truly (``_0``) and imagined from two blocks before (``_2``).
    """
    found: dict[str, float] = {}
    for deep in (0, 2):
        rows = taught.held_out[taught.age[taught.held_out] >= taught.block * max(deep, 1)]
        rows = rows[np.linspace(0, len(rows) - 1, min(4000, len(rows))).astype(int)]
        if len(rows):
            d = taught.gather(rows, np.full(len(rows), deep), np.zeros(len(rows), bool))
            error = log_steps(critic(d.z, d.goal), d.togo / taught.block)
            found[f"critic_error_{deep}"] = float(error)
    return found
