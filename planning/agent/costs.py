"""From the model's step costs to one number per candidate: small objects that add up.

The model predicts, the objective says what we want. ``N`` candidates, ``H`` steps, ``A`` action
size. Written against the array API like the optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from robot_wm.core.errors import ConfigError

Array = Any


class Reduction(Protocol):
    """Goal costs of the steps to one cost: ``[N, H] -> [N]``."""

    def __call__(self, step_costs: Array) -> Array:
        """Reduce over the horizon."""
        ...


class Term(Protocol):
    """An intrinsic cost of the actions alone: ``[N, H, A] -> [N]``."""

    def __call__(self, actions: Array) -> Array:
        """Cost of each candidate."""
        ...


@dataclass(frozen=True)
class LastCost:
    """Only where the plan ends counts."""

    def __call__(self, step_costs: Array) -> Array:
        """``[N, H] -> [N]``."""
        return step_costs[:, -1]


@dataclass(frozen=True)
class SumCost:
    """``sum_h discount**h * weights[h] * cost[h]``: arriving early pays.

    Attributes:
        discount: factor per model step, above 0; below 1 stresses the near future.
        weights: one number per step; empty means all 1.
    """

    discount: float = 1.0
    weights: tuple[float, ...] = ()

    def __call__(self, step_costs: Array) -> Array:
        """``[N, H] -> [N]``.

        Raises:
            ConfigError: as many weights as steps are needed.
        """
        steps = step_costs.shape[1]
        if self.weights and len(self.weights) != steps:
            raise ConfigError(
                f"{len(self.weights)} cost weights", f"{steps}, the horizon", "give one per step"
            )
        weights = [self.discount**h * w for h, w in enumerate(self.weights or (1.0,) * steps)]
        # Numbers, not an array of them: exported loops cannot hold a constant array.
        total = weights[0] * step_costs[:, 0]
        for h in range(1, steps):
            total = total + weights[h] * step_costs[:, h]
        return total


@dataclass(frozen=True)
class Objective:
    """Reduced goal cost plus intrinsic terms."""

    reduce: Reduction
    terms: tuple[Term, ...] = ()

    @staticmethod
    def discounted(discount: float) -> Objective:
        """The last block alone for 0; above 0 the sum of all with that factor per block."""
        return Objective(SumCost(discount) if discount else LastCost())

    def __call__(self, step_costs: Array, actions: Array) -> Array:
        """``[N, H]`` and ``[N, H, A]`` to ``[N]``."""
        total = self.reduce(step_costs)
        for term in self.terms:
            total = total + term(actions)
        return total
