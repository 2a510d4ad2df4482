"""The loop all sampling optimisers share: sample, clip, cost, refit.

Written against the Python array API: NumPy runs it, torch can trace it. Hence no in-place writes
and no branch that looks at a number inside an array. One round is a function of its own, so that
an ONNX loop can run any number of them. Bounds are applied with ``minimum`` and ``maximum``: the
compatibility layer's ``clip`` assigns through masks, which cannot be traced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from planning.optimizers.array_api import array_namespace
from planning.optimizers.search import Array, Cost, Plan, Search
from robot_wm.core.config import check_fields
from robot_wm.core.errors import ConfigError, InputError

MOST = 10**6  # candidates of one search
FINALS = ("guarded", "mean", "best")


def clip(xp: Any, actions: Array, low: Array, high: Array) -> Array:
    """Actions ``[..., H, A]`` within ``low``, ``high`` ``[A]`` or ``[H, A]``."""
    return xp.minimum(xp.maximum(actions, low), high)


def cheapest(
    xp: Any, actions: Array, costs: Array, best: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """The cheapest of ``best`` and of ``[N, H, A]``, with its cost; a tie goes to the earlier."""
    if best is not None:
        actions = xp.concat([best[0][None, ...], actions], axis=0)
        costs = xp.concat([best[1][None, ...], costs], axis=0)
    index = xp.reshape(xp.argmin(costs), (1,))
    return xp.take(actions, index, axis=0)[0, ...], xp.take(costs, index, axis=0)[0, ...]


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Base of the sampling optimisers; a subclass says how to refit the distribution.

    Attributes:
        candidates: ``N``, action sequences costed per iteration.
        iterations: rounds of sampling and refitting.
        init_std: spread of the first round, in units of half the action range.
        min_std: floor of the spread, same unit.
        final: ``guarded`` costs the final mean beside the best candidate seen (two more rows) and
            returns the cheaper, so that the plan is never worse than a proposal by the model's own
            cost; ``mean`` returns the final mean, ``best`` the best candidate seen.

    Raises:
        ConfigError: a value out of range.
    """

    candidates: int = 300
    iterations: int = 10
    init_std: float = 1.0
    min_std: float = 0.05
    final: str = "guarded"

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__)
        self.require(self.candidates >= 2, "candidates", "at least 2")
        self.require(self.iterations >= 1, "iterations", "at least 1")
        # The noise of a whole search is drawn at once.
        most = MOST // self.iterations
        self.require(self.candidates <= most, "candidates", f"at most {most} per iteration")
        self.require(self.init_std > 0, "init_std", "above 0")
        self.require(0 <= self.min_std <= self.init_std, "min_std", "between 0 and init_std")
        self.require(self.final in FINALS, "final", "one of " + ", ".join(FINALS))

    def require(self, holds: bool, name: str, accepted: str) -> None:
        """Raise ConfigError about attribute ``name`` unless ``holds``."""
        if not holds:
            raise ConfigError(
                f"{type(self).__name__}: {name} = {getattr(self, name)!r}",
                f"{name} {accepted}",
                "correct the planner's configuration",
            )

    @property
    def proposals_accepted(self) -> tuple[int, int]:
        """Fewest and most proposals a search takes; its first round also holds mean and sample."""
        return 0, self.candidates - 2

    def draw_noise(
        self, rng: np.random.Generator, horizon: int, action_dim: int, block: int = 1
    ) -> np.ndarray:
        """Standard normal noise for one plan, float32 ``[iterations, N, H, A]``.

        Args:
            rng: the episode's generator; the same state gives the same plan.
            horizon: ``H``.
            action_dim: ``A``.
            block: control steps inside one model step; only coloured noise needs it.
        """
        shape = (self.iterations, self.candidates, horizon, action_dim)
        return rng.standard_normal(shape, dtype=np.float32)

    def num_samples(self, iteration: int) -> int:
        """Candidates costed in an iteration."""
        return self.candidates

    def carry(self, xp: Any, candidates: Array, costs: Array) -> Array | None:
        """Candidates ``[M, H, A]`` that enter the next iteration unchanged."""
        return None

    def refit(
        self, xp: Any, candidates: Array, costs: Array, mean: Array, std: Array
    ) -> tuple[Array, Array]:
        """New mean and spread ``[H, A]`` from ``[N, H, A]`` and ``[N]``."""
        raise NotImplementedError

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
        """Search for a cheap action sequence.

        Candidate 0 of every iteration is the mean it starts with. All arrays share one backend and
        dtype.

        Args:
            cost: ``[n, H, A] -> [n]``; finite, lower is better; must accept any ``n``.
            mean: ``[H, A]``, centre of the first round; clipped to the bounds.
            std: ``[H, A]`` in action units, or None for ``init_std`` times half the range.
            low, high: ``[A]`` or ``[H, A]``, finite bounds; where they meet, nothing is searched.
            noise: ``[iterations, N, H, A]`` from :meth:`draw_noise`.
            proposals: ``[M, H, A]``, as many as ``proposals_accepted`` says: candidates of
                iteration 0 beside ``mean``; the cheapest of them all becomes the mean its samples
                are drawn around.
            enough: asked before every round but the first; True ends the search with the best plan
                so far.

        Raises:
            InputError: noise of another shape, too many proposals or too few.
        """
        self._check(mean, noise, proposals)
        xp = array_namespace(noise)
        fresh = noise[0, : self.num_samples(0), ...]
        search = self.init(xp, cost, mean, std, low, high, fresh, proposals)
        for i in range(1, self.iterations):
            if should_stop is not None and should_stop():
                break
            search = self.step(xp, cost, search, low, high, noise[i, : self.num_samples(i), ...])
        return self.finish(xp, cost, search)

    def init(
        self,
        xp: Any,
        cost: Cost,
        mean: Array,
        std: Array | None,
        low: Array,
        high: Array,
        noise: Array,
        proposals: Array | None = None,
    ) -> Search:
        """The first round, in which the proposals take part; ``noise`` is ``[n, H, A]``."""
        half = (high - low) / 2
        mean = clip(xp, mean, low, high)
        std = xp.broadcast_to(self.init_std * half, mean.shape) if std is None else std
        if proposals is None:
            return self._round(xp, cost, mean, std, None, None, low, high, noise)
        # Costed before the samples, which are drawn around the cheapest, and only once.
        fixed = clip(xp, proposals, low, high)
        known = xp.concat([mean[None, ...], fixed], axis=0)
        known_costs = cost(known)
        best = cheapest(xp, known, known_costs)
        fresh_noise = noise[1 : noise.shape[0] - fixed.shape[0], ...]
        sampled = clip(xp, best[0] + std * fresh_noise, low, high)
        candidates = xp.concat([best[0][None, ...], fixed, sampled], axis=0)
        costs = xp.concat([best[1][None, ...], known_costs[1:], cost(sampled)], axis=0)
        return self._learn(xp, candidates, costs, best[0], std, best, low, high)

    def step(
        self, xp: Any, cost: Cost, search: Search, low: Array, high: Array, noise: Array
    ) -> Search:
        """One more round. Shapes of ``search`` stay: an ONNX loop can carry it."""
        best = (search.best_actions, search.best_cost)
        return self._round(
            xp, cost, search.mean, search.std, search.carried, best, low, high, noise
        )

    def _round(
        self,
        xp: Any,
        cost: Cost,
        mean: Array,
        std: Array,
        carried: Array | None,
        best: tuple[Array, Array] | None,
        low: Array,
        high: Array,
        noise: Array,
    ) -> Search:
        """The mean, what was kept, then samples; the last samples make room."""
        parts = [mean[None, ...], clip(xp, mean + std * noise, low, high)[1:, ...]]
        if carried is not None:
            parts.insert(1, carried)
        candidates = xp.concat(parts, axis=0)[: noise.shape[0], ...]
        return self._learn(xp, candidates, cost(candidates), mean, std, best, low, high)

    def _learn(
        self,
        xp: Any,
        candidates: Array,
        costs: Array,
        mean: Array,
        std: Array,
        best: tuple[Array, Array] | None,
        low: Array,
        high: Array,
    ) -> Search:
        best = cheapest(xp, candidates, costs, best)
        mean, std = self.refit(xp, candidates, costs, mean, std)
        # A float mean of numbers at a bound can land one rounding step outside.
        mean, std = clip(xp, mean, low, high), xp.maximum(std, self.min_std * (high - low) / 2)
        carried = self.carry(xp, candidates, costs)
        return Search(mean, std, best[0], best[1], carried, candidates, costs)

    def finish(self, xp: Any, cost: Cost, search: Search) -> Plan:
        """The plan that a search ends with, whenever it is stopped."""
        best = (search.best_actions, search.best_cost)
        actions, best = self._finish(xp, cost, search.mean, best)
        return Plan(
            actions, search.std, best[0], best[1], search.candidates, search.candidate_costs
        )

    def _finish(
        self, xp: Any, cost: Cost, mean: Array, best: tuple[Array, Array]
    ) -> tuple[Array, tuple[Array, Array]]:
        """The plan to return ``[H, A]``, and the best seen with its cost."""
        if self.final != "guarded":
            return (mean if self.final == "mean" else best[0]), best
        # Ties stay with the best seen: an indifferent model leaves the first mean in place.
        pair = xp.stack([best[0], mean], axis=0)
        costs = cost(pair)
        return cheapest(xp, pair, costs)[0], cheapest(xp, pair, costs, best)

    def _check(self, mean: Array, noise: Array, proposals: Array | None) -> None:
        wanted = (self.iterations, self.candidates, *mean.shape)
        if tuple(noise.shape) != wanted:
            raise InputError(f"noise of shape {tuple(noise.shape)}", f"{wanted}", "use draw_noise")
        least, most = self.proposals_accepted
        if proposals is None:
            fits, received = least == 0, "no proposals"
        else:
            fits = tuple(proposals.shape[1:]) == tuple(mean.shape)
            fits = fits and max(1, least) <= proposals.shape[0] <= most
            received = f"proposals of shape {tuple(proposals.shape)}"
        if not fits:
            next_step = "ask for as many proposals, or change `candidates`"
            if proposals is not None and proposals.shape[1] != mean.shape[0]:
                next_step = f"set planner.horizon={proposals.shape[1]}, as the model proposes"
            raise InputError(
                received, f"[{max(1, least)}..{most}, {mean.shape[0]}, {mean.shape[1]}]", next_step
            )
