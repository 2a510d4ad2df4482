"""What an agent is after: a goal, or any of several, once those on the way have been passed.

``N`` candidates, ``H`` blocks, ``A`` action size. Latents stay opaque.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.protocols import Proposer, WorldModel, check_actions


class SubgoalTracker:
    """Costs and proposals towards the present goal.

    The next goal's turn comes when standing still costs a fraction ``tolerance`` of what it cost
    when this one's began, or after ``patience`` plans; the last one is never left.

    Args:
        model: the world model; nothing but its protocol is used.
        goals: encoded goals in their order; each is a set of states of which any will do.
        tolerance, patience: see above.
        memory_mb: working memory for candidates [MiB]; larger batches are split. 0 never splits.

    Raises:
        InputError: a goal without a single state.
    """

    def __init__(
        self,
        model: WorldModel[Any],
        goals: Sequence[Sequence[Any]],
        tolerance: float = 0.3,
        patience: int = 8,
        memory_mb: int = 0,
    ) -> None:
        check_tolerance(tolerance, patience)
        if not goals or not all(goals):
            raise InputError("no goal image", "one or more", "give the goal")
        self.model, self.tolerance, self.patience = model, tolerance, patience
        per_candidate = model.spec.bytes_per_candidate
        splits = memory_mb and per_candidate
        self._chunk = max(1, memory_mb * 2**20 // per_candidate) if splits else 0
        self._left = deque(goals)
        self._turn()

    def _turn(self) -> None:
        self.present, self._began, self._plans = self._left.popleft(), np.inf, 0

    def update(self, state: Any) -> None:
        """Leave goals on the way behind that ``state`` has reached, or that took too long."""
        while self._left:
            stay = np.zeros((1, 1, self.model.spec.action_dim), np.float32)
            cost = float(self.step_costs(state, stay)[0, 0])
            self._began = cost if np.isinf(self._began) else self._began
            self._plans += 1
            if cost > self.tolerance * self._began and self._plans <= self.patience:
                return
            self._turn()

    def step_costs(self, state: Any, actions: np.ndarray) -> np.ndarray:
        """The model's costs ``[N, H]`` of the nearest state of the present goal.

        Raises:
            InputError: costs that are not finite ``[N, H]``.
        """
        size = self._chunk or len(actions)
        parts = [actions[i : i + size] for i in range(0, len(actions), size)]
        each = [
            np.concatenate([self.model.step_costs(state, goal, part) for part in parts])
            for goal in self.present
        ]
        costs = each[0] if len(each) == 1 else np.min(each, axis=0)
        finite = np.isfinite(costs)
        if costs.shape != actions.shape[:2] or not finite.all():
            raise InputError(
                f"step costs of shape {costs.shape}, {(~finite).sum()} of them NaN or infinite",
                f"finite costs of shape {actions.shape[:2]}",
                "check the model's weights and statistics; training may have diverged",
            )
        return costs

    def propose(self, state: Any, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` plans ``[count, H, A]`` of the learned actor, shared among the states."""
        assert isinstance(self.model, Proposer)  # the agent's constructor asks
        number = len(self.present)
        shares = [(count + i) // number for i in range(number)]  # they sum to all
        plans = [
            self.model.propose(state, goal, share, rng)
            for goal, share in zip(self.present, shares, strict=True)
            if share
        ]
        proposed = np.concatenate(plans)
        check_actions(proposed, self.model.spec)
        return np.asarray(proposed, np.float32)


def check_tolerance(tolerance: float, patience: int) -> None:
    """Refuse thresholds that no subgoal, or every subgoal, would pass.

    Raises:
        ConfigError: ``tolerance`` outside (0, 1), or ``patience`` below 1 plan.
    """
    if not 0 < tolerance < 1 or patience < 1:
        raise ConfigError(
            f"tolerance = {tolerance}, patience = {patience}",
            "a fraction between 0 and 1, and 1 plan or more",
            "correct them",
        )
