"""Model predictive path integral control (Williams et al. 2017, arXiv:1509.01149)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planning.optimizers.base import Array, Optimizer


@dataclass(frozen=True, kw_only=True)
class MPPI(Optimizer):
    """Average all candidates, weighted by ``exp(-cost / temperature)``; the spread is refitted too.

    Attributes:
        temperature: in units of the standard deviation of the candidates' costs, so that it means
            the same for every model and cost. Small trusts the best few, large averages all.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(self.temperature > 0, "temperature", "above 0")

    def refit(
        self, xp: Any, candidates: Array, costs: Array, mean: Array, std: Array
    ) -> tuple[Array, Array]:
        """Weighted mean and standard deviation of all candidates."""
        # Keeps the weights uniform, not NaN, when all costs are equal. A bound, since ONNX's
        # optimiser takes so small a summand for 0 and leaves it out.
        scale = xp.clip(self.temperature * xp.std(costs), 1e-12, None)
        weights = xp.exp((xp.min(costs, axis=0) - costs) / scale)
        weights = (weights / xp.sum(weights))[:, None, None]
        new_mean = xp.sum(weights * candidates, axis=0)
        return new_mean, xp.sqrt(xp.sum(weights * (candidates - new_mean) ** 2, axis=0))
