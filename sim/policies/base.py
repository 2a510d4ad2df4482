"""Scripted behaviours that make the data: expert, noisy expert, weak and random.

They see the privileged pose; planners never do. Each keeps a goal of its own and draws a new one
when it is reached, so an episode holds several tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np

from sim.tasks import TASKS


class Policy(ABC):
    """Acts from poses. ``noise`` is the standard deviation added to each action, then clipped.

    Class attributes:
        spread: multiplier of the noise, one number or one for each entry of an action.
    """

    spread: ClassVar[float | np.ndarray] = 1.0

    def __init__(self, task: str, noise: float = 0.0) -> None:
        self.task, self.noise = TASKS[task](), noise
        self.goal: np.ndarray | None = None

    def reset(
        self,
        rng: np.random.Generator,
        goal: np.ndarray | None = None,
        factors: Mapping[str, Any] | None = None,
    ) -> None:
        """Start an episode; a given goal pose is kept, otherwise goals are drawn."""
        self.rng, self.goal, self._keep = rng, goal, goal is not None
        self.factors = factors or {}
        self._last = np.zeros(self.task.control_dim)

    def vary(self, rng: np.random.Generator) -> None:  # noqa: B027  (most know one way)
        """After ``reset``: draw another way of doing the same, where there are several."""

    def _draw_goal(self) -> np.ndarray:
        model = self.task.compile({})
        data = mujoco.MjData(model)
        self.task.sample_initial_state(data, self.rng)
        return self.task.pose(data.qpos, data.qvel)

    @abstractmethod
    def action(self, pose: np.ndarray) -> np.ndarray:
        """Noise-free action ``[control_dim]`` in [-1, 1]."""

    def act(self, pose: np.ndarray) -> np.ndarray:
        """Action with noise, clipped and confined to the picture, float32 ``[control_dim]``."""
        if self.goal is None:
            self.goal = self._draw_goal()
        # Chosen first, then shaken: the order of draws makes the data what it is.
        chosen, size = self.action(pose), self.task.control_dim
        action = chosen + self.noise * self.spread * self.rng.standard_normal(size)
        self._last = self.task.clip_to_workspace(pose, np.clip(action, -1, 1))
        return self._last.astype(np.float32)


class RandomPolicy(Policy):
    """Independent uniform actions."""

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Uniform in [-1, 1]."""
        return self.rng.uniform(-1, 1, self.task.control_dim)
