"""Agents and models every result is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robot_wm.core.protocols import Agent, EnvSpec, History, WorldModel


class RandomAgent:
    """Uniform control actions within the bounds ``[control_dim]``."""

    def __init__(self, control_low: Sequence[float], control_high: Sequence[float]) -> None:
        self._low = np.asarray(control_low, np.float32)
        self._high = np.asarray(control_high, np.float32)
        self._rng = np.random.default_rng(0)

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """Start an episode; the goal is ignored."""
        self._rng = np.random.default_rng(seed)

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action, float32 ``[control_dim]``."""
        action = self._rng.uniform(self._low, self._high).astype(np.float32)
        return np.clip(action, self._low, self._high)


class StayAgent:
    """The zero action, or the nearest one the bounds allow."""

    def __init__(self, control_low: Sequence[float], control_high: Sequence[float]) -> None:
        self._action = np.clip(0.0, np.asarray(control_low), np.asarray(control_high))

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """Start an episode; nothing to do."""

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action, float32 ``[control_dim]``."""
        return self._action.astype(np.float32)


class CopyLastModel:
    """Reference row ``copy_last``: a world model that predicts that nothing ever changes.

    Whatever the actions, the predicted state is the present one, so every candidate costs the same;
    that common cost is irrelevant to a planner and is given as 0. A guarded optimiser
    (``final="guarded"`` or ``"best"``) then keeps its first mean, zero actions, as ties go to the
    earlier candidate; intrinsic cost terms still count.
    """

    def __init__(self, model: WorldModel[Any]) -> None:
        self._model = model
        self.spec = model.spec

    def encode(self, history: History) -> Any:
        """As the wrapped model does."""
        return self._model.encode(history)

    def step_costs(self, state: Any, goal: Any, actions: np.ndarray) -> np.ndarray:
        """Zeros, float32 ``[N, H]``."""
        return np.zeros(actions.shape[:2], np.float32)


def random_agent(spec: EnvSpec) -> Agent:
    """The random floor of a scene."""
    return RandomAgent(spec.control_low, spec.control_high)


def stay_agent(spec: EnvSpec) -> Agent:
    """The agent of a scene that does nothing."""
    return StayAgent(spec.control_low, spec.control_high)
