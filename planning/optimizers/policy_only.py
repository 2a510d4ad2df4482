"""The actor's two modes (LeCun 2022, "A path towards autonomous machine intelligence", §3.1).

*Mode-2* is any sampling optimiser: it starts at the model's proposals, judges them and searches
around them. *Mode-1*, here, acts at once: the likeliest proposal is the plan, nothing is imagined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planning.optimizers.array_api import array_namespace
from planning.optimizers.base import Array, Cost, Optimizer, Plan, clip
from robot_wm.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PolicyOnly(Optimizer):
    """No search: the first proposal is the plan, and the world model is never asked."""

    candidates: int = 1
    iterations: int = 1

    def __post_init__(self) -> None:
        self.require(self.candidates == self.iterations == 1, "candidates", "1, in 1 iteration")

    @property
    def proposals_accepted(self) -> tuple[int, int]:
        """One."""
        return 1, 1

    def draw_noise(
        self, rng: np.random.Generator, horizon: int, action_dim: int, block: int = 1
    ) -> np.ndarray:
        """Zeros: nothing is left to chance."""
        return np.zeros((1, 1, horizon, action_dim), np.float32)

    def optimize(
        self,
        cost: Cost,
        mean: Array,
        std: Array | None,
        low: Array,
        high: Array,
        noise: Array,
        proposals: Array | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Plan:
        """The first of ``proposals`` within the bounds. Costs are told as 0: none was asked for.

        Raises:
            InputError: no proposals.
        """
        if proposals is None:
            raise InputError("no proposals", "one", "plan with `proposals: 1`")
        xp = array_namespace(noise)
        plans = clip(xp, proposals[:1, ...], low, high)
        zeros = 0 * plans
        unjudged = zeros[:, 0, 0]
        return Plan(plans[0, ...], zeros[0, ...], plans[0, ...], unjudged[0], plans, unjudged)
