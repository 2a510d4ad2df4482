"""Judge what the actor proposes, search no further: the smallest Mode-2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planning.arrays import array_namespace
from planning.optimisers.base import Array, Cost, Optimiser, Plan, cheapest, clip
from robot_wm.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Choice(Optimiser):
    """The cheapest of the proposals and of what is left of the last plan.

    One rollout where a round of sampling needs three (proposals, samples around the cheapest, the
    mean at the end), and a small rollout takes as long as a smaller one.

    Attributes:
        candidates: proposals and the last plan's rest.
    """

    candidates: int = 16
    iterations: int = 1
    final: str = "best"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.iterations == 1, "iterations", "1: nothing is refined")
        self.require(self.final == "best", "final", "best: there is no mean")

    @property
    def proposals_accepted(self) -> tuple[int, int]:
        """All candidates but one."""
        return self.candidates - 1, self.candidates - 1

    def draw_noise(
        self, rng: np.random.Generator, horizon: int, action_dim: int, block: int = 1
    ) -> np.ndarray:
        """Zeros: chance lies in the proposals."""
        return np.zeros((1, 1, horizon, action_dim), np.float32)

    def optimise(
        self,
        cost: Cost,
        mean: Array,
        std: Array | None,
        low: Array,
        high: Array,
        noise: Array,
        proposals: Array | None = None,
        enough: Callable[[], bool] | None = None,
    ) -> Plan:
        """See :meth:`Optimiser.optimise`; candidate 0 is the mean, and a tie goes to it.

        Raises:
            InputError: no proposals.
        """
        if proposals is None:
            wanted = f"{self.candidates - 1}"
            raise InputError("no proposals", wanted, "plan with one proposal less than candidates")
        xp = array_namespace(noise)
        plans = clip(xp, xp.concat([mean[None, ...], proposals], axis=0), low, high)
        costs = cost(plans)
        best, least = cheapest(xp, plans, costs)
        return Plan(best, 0 * best, best, least, plans, costs)
