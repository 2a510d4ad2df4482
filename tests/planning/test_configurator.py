"""From a deadline to a search: less time, a smaller search, never one that takes longer."""

from __future__ import annotations

import numpy as np
import pytest
from toy_models import SPEC, ProposingModel, ToyModel

from planning.agent.configurator import LEAST, REFINED, Budget, Speed, fit, timed
from planning.agent.mpc import MPCAgent
from planning.optimizers import CEM, ICEM, Choice, Mode1
from robot_wm.core.errors import ConfigError

FULL = ICEM(candidates=128, iterations=3, elites=16)
SPEED = Speed(act=0.005, look=0.006, sizes=(16, 64, 128), rollouts=(0.004, 0.012, 0.022))


def size(budget: Budget) -> int:
    """Rollouts of a plan."""
    if isinstance(budget.optimiser, Mode1):
        return 0
    return sum(budget.optimiser.count(i) for i in range(budget.optimiser.iterations))


def test_less_time_means_a_smaller_search_that_fits():
    before = None
    for ms in (200, 100, 60, 50, 40, 30, 25, 20, 15, 12, 7):
        budget = fit(SPEED, ms / 1e3, FULL, 64)
        assert budget.seconds <= ms / 1e3
        least, most = budget.optimiser.proposals_accepted
        assert least <= budget.proposals <= most
        assert before is None or size(budget) <= before
        before = size(budget)
    assert fit(SPEED, 0.2, FULL, 64) == (FULL, 64, SPEED.plan(FULL, 64))
    rounds = {ms: fit(SPEED, ms / 1e3, FULL, 64).optimiser.iterations for ms in (60, 40, 30, 25)}
    assert rounds == {60: 3, 40: 3, 30: 2, 25: 1}
    for ms in (14, 13, 12.6):  # a round of sampling would be three rollouts
        single = fit(SPEED, ms / 1e3, FULL, 64)
        assert single.optimiser == Choice(candidates=REFINED)
        assert single.proposals == REFINED - 1
    assert isinstance(fit(SPEED, 0.007, FULL, 64).optimiser, Mode1)


def test_it_wastes_little_of_the_time():
    """One more candidate or round would have been too much."""
    for ms in (100, 60, 40, 25):
        budget = fit(SPEED, ms / 1e3, FULL, 64)
        assert budget.seconds > 0.75 * min(ms / 1e3, SPEED.plan(FULL, 64))


def test_without_an_actor_there_is_a_least_search():
    plain = fit(SPEED, 0.018, CEM(candidates=100, iterations=5, elites=20), 0)
    assert plain.optimiser.candidates >= LEAST
    assert plain.proposals == 0
    for proposals, deadline in ((0, 0.007), (64, 0.006)):
        with pytest.raises(ConfigError, match="ms or more on this machine"):
            fit(SPEED, deadline, FULL, proposals)


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
    optimiser = CEM(candidates=64, iterations=2, elites=8)
    speed = timed(model, optimiser, proposals, repeats=5, clock=lambda: now[0])
    assert speed.act == pytest.approx(0.005 + 1e-4 * (proposals > 0))
    assert speed.look == pytest.approx(0.005 + (1e-4 * 51 if proposals else 0))
    assert speed.sizes == (2, 8, 32, 64)
    np.testing.assert_allclose(speed.rollouts, 1e-4 * np.array(speed.sizes))
    assert speed.refit == 0  # this clock does not see it
    budget = fit(speed, 0.015, optimiser, proposals)
    agent = MPCAgent(model, budget.optimiser, horizon=4, proposals=budget.proposals)
    black = {"image": np.zeros((SPEC.image_size, SPEC.image_size, 3), np.uint8)}
    agent.reset(black, 0)
    began = now[0]
    agent.act(black)
    assert now[0] - began <= 0.015
