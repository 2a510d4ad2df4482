"""An agent that plans while its world moves on."""

from __future__ import annotations

import numpy as np
import pytest
from toy_models import SPEED, ProposingModel, ToyModel, agent_of, drive

from planning.agent.costs import Objective
from planning.agent.timing.realtime_mpc import RealTimeMPC
from planning.optimizers import CEM
from robot_wm.core.errors import ConfigError, InputError


def late(model, delay, **options):
    options = {
        "optimizer": CEM(candidates=64, iterations=4, elites=8), "horizon": 4,
        "objective": Objective.discounted(1.0),
    } | options  # fmt: skip
    return RealTimeMPC(model, delay=delay, **options)


def test_without_delay_it_is_the_planner_itself():
    ours, reference = late(ToyModel(), 0), agent_of(ToyModel(), objective=Objective.discounted(1.0))
    np.testing.assert_array_equal(drive(ours, 20)[1], drive(reference, 20)[1])
    assert ours.counts == {"plans": 4, "late_plans": 0, "hold_ticks": 0, "delay": 0}


@pytest.mark.parametrize("delay", [1, 3, 5, 7])
def test_it_holds_until_the_first_plan_and_then_plans_from_where_it_will_be(delay):
    seen = []

    class Watching(ProposingModel):
        def step_costs(self, state, goal, actions):
            seen.append((agent._step, np.array(actions)))
            return super().step_costs(state, goal, actions)

    agent = late(Watching(), delay, proposals=4)
    _, actions = drive(agent, 40)
    assert (actions[:delay] == 0).all()
    assert (actions[delay : delay + 3] != 0).any()
    assert agent.counts["hold_ticks"] == delay
    assert agent.counts["late_plans"] == 0
    # Every candidate begins with what was then executed.
    period = 5 * -(-delay // 5)
    asked = range(0, 40, period)
    assert agent.counts["plans"] == len(asked)
    for start in asked:
        # It thinks when asked for the next action.
        same = [candidates for step, candidates in seen if step == start + 1]
        assert same
        for candidates in same:
            first = candidates.reshape(len(candidates), -1, 2)[:, :delay]
            wanted = np.broadcast_to(actions[start : start + delay], first.shape)
            np.testing.assert_array_equal(first[:, : 40 - start], wanted[:, : 40 - start])


def test_knowing_the_delay_is_better_than_ignoring_it():
    """The goal is near: whoever forgets what is on its way overshoots."""

    class Forgetful(RealTimeMPC):
        def _bounds(self, committed):
            return super()._bounds(committed[:0])

    options = {"optimizer": CEM(candidates=64, iterations=4, elites=8), "horizon": 4,
               "objective": Objective.discounted(1.0), "delay": 5}  # fmt: skip
    goal = np.array([0.3, -0.2])
    errors = [
        np.abs(drive(kind(ToyModel(), **options), 120)[0][60:] - goal).mean()
        for kind in (RealTimeMPC, Forgetful)
    ]
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 5 * SPEED


def test_a_late_plan_joins_where_its_time_has_come(monkeypatch):
    agent = late(ToyModel(), None)
    delays = iter([2, 4, 1, 1])
    monkeypatch.setattr(agent, "_reckoned", lambda: 2)
    monkeypatch.setattr(agent, "_delay_of", lambda seconds: next(delays))
    plans, think = [], agent._plan

    def kept(*arguments):
        plans.append(think(*arguments).reshape(-1, 2))
        return plans[-1].reshape(4, 10)

    monkeypatch.setattr(agent, "_plan", kept)
    _, actions = drive(agent, 20)
    first, second, third, _ = plans
    np.testing.assert_array_equal(actions[2:9], first[2:9])  # the second is 2 steps late
    np.testing.assert_array_equal(actions[9:11], second[4:6])
    np.testing.assert_array_equal(actions[11:16], third[1:6])
    assert agent.counts == {"plans": 4, "late_plans": 1, "hold_ticks": 2, "delay": 8}


def test_measured_time_becomes_control_steps():
    agent = late(ToyModel(), None)
    agent.reset({"image": np.zeros((8, 8, 3), np.uint8)}, 0)
    assert agent._reckoned() == 1
    assert [agent._delay_of(s) for s in (0.001, 0.1, 0.1001, 0.55)] == [1, 1, 2, 6]
    assert agent._reckoned() == 6  # rounded up, from the few there are
    for _ in range(100):
        agent._delay_of(0.15)
    assert agent._reckoned() == 2  # the first were warm-up
    agent.reset({"image": np.zeros((8, 8, 3), np.uint8)}, 0)
    assert agent._reckoned() == 2  # what a machine needs is not forgotten with the episode


def test_thinking_between_two_steps_changes_nothing():
    class Ahead(RealTimeMPC):
        def act(self, obs):
            action = super().act(obs)
            assert self._asked is None or self._step > 0
            self.plan_async()
            assert self._asked is None
            return action

    options = {"optimizer": CEM(candidates=64, iterations=4, elites=8), "horizon": 4,
               "objective": Objective.discounted(1.0)}  # fmt: skip
    for delay in (1, 4, 7):
        kinds = (RealTimeMPC, Ahead)
        runs = [drive(kind(ToyModel(), delay=delay, **options), 30)[1] for kind in kinds]
        np.testing.assert_array_equal(*runs)


def test_bad_delays_are_refused():
    for delay in (-1, 20):
        with pytest.raises(ConfigError, match="delay"):
            late(ToyModel(), delay)
    with pytest.raises(InputError, match="before reset"):
        late(ToyModel(), 1).act({})
