"""Judge what the actor proposes, search no further: the smallest Mode-2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planning.optimizers.base import Array, Cost, Optimizer, Search, cheapest, clip


@dataclass(frozen=True, kw_only=True)
class BestOfN(Optimizer):
    """The cheapest of the proposals and of what is left of the last plan; nothing is sampled.

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

    def init(
        self, xp: Any, cost: Cost, mean: Array, std: Array | None, low: Array, high: Array,
        noise: Array, proposals: Array | None = None,
    ) -> Search:  # fmt: skip
        """The only round. Candidate 0 is the mean, and a tie goes to it."""
        assert proposals is not None  # optimise() asks
        plans = clip(xp, xp.concat([mean[None, ...], proposals], axis=0), low, high)
        costs = cost(plans)
        best, least = cheapest(xp, plans, costs)
        return Search(best, 0 * best, best, least, None, plans, costs)
