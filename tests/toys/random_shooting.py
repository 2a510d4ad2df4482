"""Somebody else's planner, with no options in common with ours: the mean goes to the cheapest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planning.optimizers.base import Array, Optimizer


@dataclass(frozen=True, kw_only=True)
class RandomShooting(Optimizer):
    """A spread that shrinks by ``shrink`` a round."""

    shrink: float = 0.6

    def refit(
        self, xp: Any, candidates: Array, costs: Array, mean: Array, std: Array
    ) -> tuple[Array, Array]:
        index = xp.reshape(xp.argmin(costs), (1,))
        return xp.take(candidates, index, axis=0)[0, ...], self.shrink * std
