"""Cross-entropy method (Rubinstein 1999; as planner: Chua et al. 2018, PETS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planning.optimizers.base import Array, Optimizer

WEIGHTINGS = ("uniform", "linear")


@dataclass(frozen=True, kw_only=True)
class CEM(Optimizer):
    """Refit a diagonal Gaussian to the cheapest candidates.

    Attributes:
        elites: candidates the distribution is refitted to.
        momentum: share of the old mean and spread that survives a refit, 0 to below 1.
        weighting: ``uniform`` counts all elites alike; ``linear`` by how much cheaper each is than
            the cheapest one that is not among them, so that two candidates of nearly equal cost
            that swap places change nearly nothing: rounding then stays rounding.
    """

    elites: int = 30
    momentum: float = 0.0
    weighting: str = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(1 <= self.elites <= self.candidates, "elites", "between 1 and candidates")
        self.require(0 <= self.momentum < 1, "momentum", "from 0 to below 1")
        self.require(self.weighting in WEIGHTINGS, "weighting", "one of " + ", ".join(WEIGHTINGS))
        self.require(
            self.weighting == "uniform" or self.elites < self.candidates,
            "elites", "below candidates with linear weights",
        )  # fmt: skip

    def refit(
        self, xp: Any, candidates: Array, costs: Array, mean: Array, std: Array
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of the elites."""
        order = xp.argsort(costs)
        elites = xp.take(candidates, order[: self.elites], axis=0)
        if self.weighting == "uniform":
            new_mean, new_std = xp.mean(elites, axis=0), xp.std(elites, axis=0)
        else:
            ranked = xp.take(costs, order[: self.elites + 1])
            # The small addition makes candidates of equal cost count alike, the bound those of cost
            # 0; a summand as small would be taken for 0 by ONNX's optimiser and left out.
            weight = ranked[-1] - ranked[:-1] + 1e-6 * xp.abs(ranked[-1])
            weight = xp.clip(weight, 1e-12, None)
            weight = (weight / xp.sum(weight))[:, None, None]
            new_mean = xp.sum(weight * elites, axis=0)
            new_std = xp.sqrt(xp.sum(weight * (elites - new_mean) ** 2, axis=0))
        keep = self.momentum
        return keep * mean + (1 - keep) * new_mean, keep * std + (1 - keep) * new_std
