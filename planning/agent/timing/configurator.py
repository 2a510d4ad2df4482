"""The configurator (LeCun 2022, §3.2): from a deadline to the search that fits it on this machine.

It times the model's parts where they will run, then takes away candidates, then rounds, then the
samples (:class:`BestOfN` judges proposals alone), then the judgement (Mode-1), until a plan fits:
three rounds of 24 candidates reach more goals than one round of 64, and twelve judged proposals as
many as 64. Which searches are worth their time was measured on validation episodes:
``docs/log.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from planning.optimizers import CEM, BestOfN, PolicyOnly
from planning.optimizers.base import Optimizer
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import sides
from robot_wm.core.protocols import History, Proposer, WorldModel

LEAST = 8  # candidates below which the actor alone does as well
REFINED = 16  # candidates of a round below which fewer rounds do as well, and choosing as one round
PROPOSED = 0.8  # share of a single round's candidates that the actor proposes
BEFORE = 2 / 3  # share of the first round's candidates that the actor proposes
RESERVE = 1.25  # a machine at work is slower at times than one that is being timed
SLOWEST = 95  # percentile of the timings a plan is reckoned with


@dataclass(frozen=True)
class LatencyModel:
    """How long the parts of a plan take here.

    Attributes:
        proposals, looks: numbers of plans asked of the actor, ascending, and the time to encode a
            frame and to propose as many [s]; the first is one plan, which is Mode-1.
        sizes, rollouts: numbers of candidates, ascending, and the time to cost as many [s].
        refit: the search's own arithmetic for one candidate of one round [s].
    """

    proposals: tuple[int, ...]
    looks: tuple[float, ...]
    sizes: tuple[int, ...]
    rollouts: tuple[float, ...]
    refit: float = 0.0

    def plan(self, optimizer: Optimizer, proposals: int) -> float:
        """Time of a whole plan with a reserve [s]."""
        if isinstance(optimizer, PolicyOnly):
            return RESERVE * self.looks[0]
        sizes = [optimizer.num_samples(i) for i in range(optimizer.iterations)]
        if proposals and not isinstance(
            optimizer, BestOfN
        ):  # they are costed before the samples around the cheapest of them
            sizes[:1] = [proposals + 1, sizes[0] - proposals - 1]
        if optimizer.final == "guarded":
            sizes.append(2)
        # No rollout is cheaper than the smallest that was timed; beyond the largest, in proportion.
        each = np.interp(sizes, self.sizes, self.rollouts)
        beyond = np.maximum(np.array(sizes) / self.sizes[-1], 1.0)
        rollouts = float((each * beyond).sum())
        look = float(np.interp(proposals, self.proposals, self.looks))
        return RESERVE * (look + rollouts + self.refit * sum(sizes))


class Budget(NamedTuple):
    """A search that fits, the plans it asks of the actor, and the time it is reckoned to take."""

    optimizer: Optimizer
    proposals: int
    seconds: float


def profile(
    model: WorldModel[Any],
    optimizer: Optimizer,
    proposals: int,
    repeats: int = 40,
    clock: Callable[[], float] = time.perf_counter,
) -> LatencyModel:
    """Time a model on pictures of noise, alone on its machine.

    Args:
        model: anything behind the contract.
        optimizer: the full search.
        proposals: plans it asks of the actor; 0 for none.
        repeats: of every part, after three to warm up.
        clock: seconds.
    """
    spec, rng, most = model.spec, np.random.default_rng(0), optimizer.candidates

    shape, none = (1, *sides(spec.image_size), 3), np.zeros((2, 0), np.float32)
    seen = [rng.integers(0, 256, shape, np.uint8)]

    def history() -> History:
        # As in an episode one frame is new: models remember those they have encoded.
        seen.append(rng.integers(0, 256, shape, np.uint8))
        frames = np.concatenate(seen[-2:])
        return History(frames, none, np.zeros((1, spec.action_dim), np.float32))

    state, goal = model.encode(history()), model.encode(History.of_goal(history().frames[0]))
    sizes = sorted({2, *(max(2, most // part) for part in (8, 2, 1))})
    # As many as any smaller search will ask for.
    most_proposals = max(proposals, int(PROPOSED * most), min(most, REFINED) - 1)
    asked = sorted({1, max(1, most_proposals // 8), max(1, most_proposals // 2), most_proposals})
    low, high = (np.asarray(b, np.float32) for b in (spec.action_low, spec.action_high))

    def encode(plans: int) -> Callable[[], object]:
        def work() -> None:
            now = model.encode(history())
            if proposals and isinstance(model, Proposer):
                model.propose(now, goal, plans, rng)

        return work

    def rollout(size: int) -> Callable[[], object]:
        actions = rng.uniform(low, high, (size, spec.horizon, spec.action_dim)).astype(np.float32)
        return lambda: model.step_costs(state, goal, actions)

    least = optimizer.proposals_accepted[0]
    first = np.zeros((least, spec.horizon, spec.action_dim), np.float32) if least else None

    def free(actions: np.ndarray) -> np.ndarray:
        return np.zeros(len(actions), np.float32)

    def search() -> None:
        noise = optimizer.draw_noise(rng, spec.horizon, spec.action_dim, block=spec.block)
        still = np.zeros((spec.horizon, spec.action_dim), np.float32)
        optimizer.optimize(free, still, None, low, high, noise, first)

    def slow(work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(3 + repeats):
            start = clock()
            work()
            seconds.append(clock() - start)
        return float(np.percentile(seconds[3:], SLOWEST))

    rollouts = tuple(slow(rollout(size)) for size in sizes)
    refit = slow(search) / sum(optimizer.num_samples(i) for i in range(optimizer.iterations))
    looks = tuple(slow(encode(count)) for count in asked)
    return LatencyModel(tuple(asked), looks, tuple(sizes), rollouts, refit)


def fit_budget(
    latency: LatencyModel, deadline: float, optimizer: Optimizer, proposals: int
) -> Budget:
    """The largest search within a deadline, no larger than the one given.

    As many rounds as leave each ``REFINED`` candidates, most of a single one proposed by the actor;
    below, it proposes all of them; below ``LEAST`` it acts alone.

    Args:
        deadline: for a whole plan, from the frame to the action [s].
        optimizer, proposals: the full search.

    Raises:
        ConfigError: not even looking fits.
    """
    budget = Budget(optimizer, proposals, latency.plan(optimizer, proposals))
    if budget.seconds <= deadline:
        return budget
    full = optimizer.candidates
    refines = not isinstance(optimizer, BestOfN)
    for rounds in range(optimizer.iterations, 0, -1) if refines else ():
        share = (PROPOSED if rounds == 1 else BEFORE) if proposals else 0
        for count in range(full, (REFINED if rounds > 1 or proposals else LEAST) - 1, -1):
            smaller, proposed = _smaller(optimizer, count, rounds), int(share * count)
            budget = Budget(smaller, proposed, latency.plan(smaller, proposed))
            if budget.seconds <= deadline:
                return budget
    if proposals:
        for count in range(min(full, REFINED) if refines else full, LEAST - 1, -1):
            choice = BestOfN(candidates=count)
            budget = Budget(choice, count - 1, latency.plan(choice, count - 1))
            if budget.seconds <= deadline:
                return budget
    if proposals:
        budget = Budget(PolicyOnly(), 1, latency.plan(PolicyOnly(), 1))
    if not budget.seconds <= deadline:  # so that NaN is refused
        raise ConfigError(
            f"a deadline of {1e3 * deadline:.1f} ms",
            f"{1e3 * budget.seconds:.1f} ms or more on this machine",
            "allow more time, or plan with a smaller model",
        )
    return budget


def _smaller(optimizer: Optimizer, candidates: int, rounds: int) -> Optimizer:
    changes: dict[str, Any] = {"candidates": candidates, "iterations": rounds}
    if isinstance(optimizer, CEM):
        changes["elites"] = max(1, min(optimizer.elites, candidates // 4))
    return replace(optimizer, **changes)
