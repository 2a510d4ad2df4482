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
    Seed,
    Within,
    check_fields,
)
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import fit, generators_of
from robot_wm.training.losses import log_steps
from robot_wm.training.schedule import Schedule
from robot_wm.world_models.jepa.actor.dataset import Taught
from robot_wm.world_models.jepa.actor.lesson_training import LessonTraining
from robot_wm.world_models.jepa.dynamics import GoalDistance


@dataclass(frozen=True)
class CriticConfig(Schedule):
    """How a critic is tuned on lessons.

    Attributes:
        steps: optimizer steps; 0 leaves the critic as it is.
        batch: lesson rows a step.
        hindsight: rows whose goal is a later state of the same way, as a share of ``batch``.
        imagined: share of the lesson rows that are seen in imagination.
        ahead: control steps to a goal in hindsight, at most.
        seed: of the rows.
    """

    steps: Natural = 4_000
    batch: Annotated[int, Within(2, 10**6)] = 768
    hindsight: NonNegative = 0.5
    imagined: Fraction = 0.5
    ahead: Count = 40
    seed: Seed = 77

    def __post_init__(self) -> None:
        check_fields(self, "teach.actor.critic")


def train_critic(
    config: CriticConfig,
    taught: Taught,
    start: GoalDistance,
    out: Path,
    facts: Mapping[str, Any],
    log_every: int = 100,
    checkpoint_every: int = 1_000,
) -> GoalDistance:
    """The critic after its lessons; ``start`` stays as it is.

    Args:
        out: run folder; an interrupted run there goes on.
        facts: what decides the lessons.
        log_every, checkpoint_every: in steps; they decide nothing.
    """
    tuned = copy.deepcopy(start).eval()
    if config.steps:
        rhythm = log_every, checkpoint_every
        fit(partial(CriticTraining, config, taught, tuned, Path(out), facts, *rhythm), out)
    return tuned.requires_grad_(False)


class CriticTraining(LessonTraining):
    """A critic, learning how far it is to the goals of lessons; see :func:`train_critic`.

    Args:
        tuned: the critic to begin with, and what the average is written into.
    """

    title, section = "train the critic", "teach.actor.critic"

    def __init__(
        self,
        config: CriticConfig,
        taught: Taught,
        tuned: GoalDistance,
        out: Path,
        facts: Mapping[str, Any],
        log_every: int,
        checkpoint_every: int,
    ) -> None:
        state = Averaged(copy.deepcopy(tuned).train().requires_grad_(True))
        super().__init__(config, config.steps, state, log_every, checkpoint_every)
        self.config, self.taught, self.tuned, self.out = config, taught, tuned, out
        self.identity = {**asdict(config), **facts}

    def drawn_loss(self, step: int) -> Tensor:
        """Mean squared error of log(1 + blocks to go)."""
        c, (rng, _) = self.config, generators_of(self.config.seed, step)
        draws = [self.taught.draw(c.batch, rng, c.imagined, 0.0)]
        if count := round(c.hindsight * c.batch):
            draws.append(self.taught.wander(count, rng, c.ahead))
        z, goal, togo = (
            torch.cat([getattr(draw, name) for draw in draws]) for name in ("z", "goal", "togo")
        )
        return log_steps(self.state.live(z, goal), togo / self.taught.block)

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
