"""From a deadline to a search: less time, a smaller search, never one that takes longer."""

from __future__ import annotations

import numpy as np
import pytest
from toy_models import SPEC, ProposingModel, ToyModel

from planning.agent.mpc import MPCAgent
from planning.agent.timing.configurator import (
    LEAST,
    REFINED,
    Budget,
    LatencyModel,
    fit_budget,
    profile,
)
from planning.optimizers import CEM, ICEM, BestOfN, PolicyOnly
from robot_wm.core.errors import ConfigError

FULL = ICEM(candidates=128, iterations=3, elites=16)
LATENCY = LatencyModel(
    proposals=(1, 102), looks=(0.005, 0.006), sizes=(16, 64, 128), rollouts=(0.004, 0.012, 0.022)
)


def size(budget: Budget) -> int:
    """Rollouts of a plan."""
    if isinstance(budget.optimizer, PolicyOnly):
        return 0
    return sum(budget.optimizer.num_samples(i) for i in range(budget.optimizer.iterations))


def test_less_time_means_a_smaller_search_that_fits():
    before = None
    for ms in (200, 100, 60, 50, 40, 30, 25, 20, 15, 12, 7):
        budget = fit_budget(LATENCY, ms / 1e3, FULL, 64)
        assert budget.seconds <= ms / 1e3
        least, most = budget.optimizer.proposals_accepted
        assert least <= budget.proposals <= most
        assert before is None or size(budget) <= before
        before = size(budget)
    with pytest.raises(ConfigError, match="nan ms"):
        fit_budget(LATENCY, float("nan"), FULL, 64)
    assert fit_budget(LATENCY, 0.2, FULL, 64) == (FULL, 64, LATENCY.plan(FULL, 64))
    rounds = {
        ms: fit_budget(LATENCY, ms / 1e3, FULL, 64).optimizer.iterations for ms in (60, 40, 30, 25)
    }
    assert rounds == {60: 3, 40: 3, 30: 2, 25: 1}
    for ms in (14, 13, 12.6):  # a round of sampling would be three rollouts
        single = fit_budget(LATENCY, ms / 1e3, FULL, 64)
        assert single.optimizer == BestOfN(candidates=REFINED)
        assert single.proposals == REFINED - 1
    assert isinstance(fit_budget(LATENCY, 0.007, FULL, 64).optimizer, PolicyOnly)


def test_it_wastes_little_of_the_time():
    """One more candidate or round would have been too much."""
    for ms in (100, 60, 40, 25):
        budget = fit_budget(LATENCY, ms / 1e3, FULL, 64)
        assert budget.seconds > 0.75 * min(ms / 1e3, LATENCY.plan(FULL, 64))


def test_without_an_actor_there_is_a_least_search():
    plain = fit_budget(LATENCY, 0.018, CEM(candidates=100, iterations=5, elites=20), 0)
    assert plain.optimizer.candidates >= LEAST
    assert plain.proposals == 0
    for proposals, deadline in ((0, 0.007), (64, 0.006)):
        with pytest.raises(ConfigError, match="ms or more on this machine"):
            fit_budget(LATENCY, deadline, FULL, proposals)


def test_few_proposals_are_reckoned_with_the_time_of_few():
    """An actor that is rolled out takes longer for many plans; a choice of eight asks for seven."""
    slow = LatencyModel((1, 102), (0.004, 0.020), (8, 128), (0.002, 0.012))
    choice = fit_budget(slow, 0.01, FULL, 64)
    assert isinstance(choice.optimizer, BestOfN)
    assert choice.seconds < 0.01 < slow.plan(FULL, 64)


def test_a_choice_is_made_smaller_as_a_choice():
    """It proposes all candidates but one: nothing else can be asked of it."""
    slow = LatencyModel((1, 4, 15, 40), (0.004, 0.008, 0.016, 0.030), (2, 64), (0.002, 0.004))
    for ms in (60, 40, 30, 25, 20, 15, 12):
        budget = fit_budget(slow, ms / 1e3, BestOfN(candidates=40), 39)
        least, most = budget.optimizer.proposals_accepted
        assert least <= budget.proposals <= most
        assert budget.seconds <= ms / 1e3


@pytest.mark.parametrize("optimizer", [BestOfN(candidates=8), PolicyOnly()])
def test_what_needs_proposals_can_be_timed(optimizer):
    latency = profile(ProposingModel(), optimizer, optimizer.proposals_accepted[0], repeats=2)
    assert fit_budget(latency, 10.0, optimizer, optimizer.proposals_accepted[0]).seconds < 10


@pytest.mark.parametrize(("model", "proposals"), [(ToyModel(), 0), (ProposingModel(), 8)])
def test_a_model_is_timed_part_by_part(model, proposals):
    now = [0.0]

    def slow(name: str, price):
        plain = getattr(model, name)

        def work(*arguments):
            now[0] += price(*arguments)
            return plain(*arguments)

        setattr(model, name, work)

    slow("encode", lambda history: 0.005)
    slow("step_costs", lambda state, goal, actions: 1e-4 * len(actions))
    if proposals:
        slow("propose", lambda state, goal, n, rng: 1e-4 * n)
    optimizer = CEM(candidates=64, iterations=2, elites=8)
    latency = profile(model, optimizer, proposals, repeats=5, clock=lambda: now[0])
    assert latency.proposals == (1, 6, 25, 51)
    np.testing.assert_allclose(
        latency.looks, 0.005 + 1e-4 * np.array(latency.proposals) * (proposals > 0)
    )
    assert latency.sizes == (2, 8, 32, 64)
    np.testing.assert_allclose(latency.rollouts, 1e-4 * np.array(latency.sizes))
    assert latency.refit == 0  # this clock does not see it
    budget = fit_budget(latency, 0.015, optimizer, proposals)
    agent = MPCAgent(model, budget.optimizer, horizon=4, proposals=budget.proposals)
    black = {"image": np.zeros((SPEC.image_size, SPEC.image_size, 3), np.uint8)}
    agent.reset(black, 0)
    began = now[0]
    agent.act(black)
    assert now[0] - began <= 0.015
