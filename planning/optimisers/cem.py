"""Cross-entropy method (Rubinstein 1999; as planner: Chua et al. 2018, PETS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planning.optimisers.base import Array, Optimiser


@dataclass(frozen=True, kw_only=True)
class CEM(Optimiser):
    """Refit a diagonal Gaussian to the cheapest candidates.

    Attributes:
        elites: candidates the distribution is refitted to.
        momentum: share of the old mean and spread that survives a refit, 0 to below 1.
    """

    elites: int = 30
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1 <= self.elites <= self.candidates, "elites", "between 1 and candidates")
        self.require(0 <= self.momentum < 1, "momentum", "from 0 to below 1")

    def refit(
        self, xp: Any, candidates: Array, costs: Array, mean: Array, std: Array
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of the elites."""
        elites = xp.take(candidates, xp.argsort(costs)[: self.elites], axis=0)
        new_mean, new_std = xp.mean(elites, axis=0), xp.std(elites, axis=0)
        keep = self.momentum
        return keep * mean + (1 - keep) * new_mean, keep * std + (1 - keep) * new_std
