"""What a search hands from round to round, and what it found.

``N`` candidates, ``H`` blocks, ``A`` action size of a block, task unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Array = Any  # any array-API array
Cost = Callable[[Array], Array]


@dataclass(frozen=True)
class Plan:
    """What an optimiser found. Every action lies within the bounds.

    Attributes:
        actions: ``[H, A]``, the plan to execute.
        std: ``[H, A]``, spread of the sampling distribution after the last refit.
        best_actions: ``[H, A]``, cheapest candidate ever costed.
        best_cost: ``[]``, its cost.
        candidates: ``[N, H, A]`` of the last iteration.
        candidate_costs: ``[N]``, their costs.
    """

    actions: Array
    std: Array
    best_actions: Array
    best_cost: Array
    candidates: Array
    candidate_costs: Array


class Search(NamedTuple):
    """A search between two rounds.

    Attributes:
        mean, std: ``[H, A]``, of the sampling distribution.
        best_actions, best_cost: ``[H, A]`` and ``[]``, cheapest candidate so far.
        kept: ``[K, H, A]``, candidates that enter the next round unchanged, or None.
        candidates, candidate_costs: ``[N, H, A]`` and ``[N]`` of this round.
    """

    mean: Array
    std: Array
    best_actions: Array
    best_cost: Array
    carried: Array | None
    candidates: Array
    candidate_costs: Array
