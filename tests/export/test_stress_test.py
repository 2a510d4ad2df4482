"""The soak itself: everything that can go wrong does, and careless controllers do not pass."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scripted_agent import LIMITS, Agent, image

from export.robot import controller
from export.robot.controller import Controller
from export.robot.senses import Camera, Pace
from export.robot.stress_test import INJECTED_FAULTS, StressReport, stress_test
from robot_wm.core.errors import InputError

FRAMES = np.stack([image(k) for k in range(40)])
QUICK = replace(LIMITS, max_plan_time_s=0.1)


class Wild(Agent):
    """Wants something else every time, often all that it can."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def act(self, obs):
        action = self.rng.uniform(-3, 3, 2).clip(-1, 1)
        return action.astype(np.float32)


class Swing(Agent):
    """Wants the opposite with every goal."""

    def reset(self, goal, seed):
        self.action = tuple(-np.asarray(self.action))


@pytest.fixture(scope="module")
def found():
    return stress_test(Wild(), QUICK, FRAMES, ticks=30_000, rate=0.3)


def test_everything_goes_wrong_and_nothing_gets_out(found):
    # A model that knows no novelty is not shown noise; hung planners are rare, for they take time.
    assert set(found.injected) >= set(INJECTED_FAULTS) - {"noise for frames", "planner that hangs"}
    told = {name for name, trouble in INJECTED_FAULTS.items() if trouble.reported_as}
    assert all(found.reported[name] > 0 for name in told & set(found.injected))
    assert (found.ticks, found.broken) == (30_000, 0), found
    assert found.stops > 0
    assert 0.1 < found.moved <= QUICK.max_change + 1e-6
    assert found.passed


def test_goals_are_pictures_that_the_planner_takes():
    class Choosy:
        spec = Wild().model.spec

        def check_goal(self, image):
            if np.array_equal(image, FRAMES[7]):
                raise InputError("frame 7", "another", "choose one")

    agent = Wild()
    agent.model = Choosy()
    assert stress_test(agent, QUICK, FRAMES, ticks=2_000, rate=0.1, length=10).passed


def test_what_was_counted_can_be_written_down(found):
    told = json.loads(json.dumps(found.to_json()))
    assert told["ticks"] == 30_000
    assert told["injected"]["black frames"] >= told["reported"]["black frames"] > 0
    assert told["passed"] is True


def test_a_hung_planner_is_left_behind():
    found = stress_test(Wild(), QUICK, FRAMES, ticks=3_000, rate=0.5, seed=1)
    assert found.injected["planner that hangs"] == 0  # too rare for so few steps: ask for it
    hung = replace(INJECTED_FAULTS["planner that hangs"], share=1e6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(INJECTED_FAULTS, "planner that hangs", hung)
        found = stress_test(Wild(), QUICK, FRAMES, ticks=300, rate=0.5)
    assert found.injected["planner that hangs"] > 3
    assert found.broken == 0, found
    assert found.longest >= 0.09  # it did wait


def test_a_stream_without_faults_reports_none():
    found = stress_test(Agent(), QUICK, FRAMES, ticks=1_000, rate=0.0)
    assert not found.injected
    assert (found.stops, found.episodes, found.broken) == (0, 10, 0)


def _raise(*_):
    raise ValueError("of a driver")


CARELESS = {
    "outside": (Controller, "_limit", lambda self, *_: 3 * np.asarray(self._noop + 1)),
    "unreported": (Camera, "fault", lambda self, now, frame: setattr(self, "seen", FRAMES[0])),
    "raised": (Pace, "fault", _raise),
    "mixed": (controller, "pictures", lambda goal, size: FRAMES[:1]),
}


@pytest.mark.parametrize("count", CARELESS)
def test_careless_controllers_are_found_out(count, monkeypatch):
    monkeypatch.setattr(*CARELESS[count])
    found = stress_test(Wild(), QUICK, FRAMES, ticks=3_000, rate=0.5)
    assert getattr(found, count) > 3
    assert not found.passed


def test_a_controller_that_jumps_when_it_starts_is_found_out(monkeypatch):
    begin = Controller._begin

    def jump(self, seed):
        begin(self, seed)
        self._last = self._noop.copy()

    monkeypatch.setattr(Controller, "_begin", jump)
    slow = replace(QUICK, max_change=0.1)
    assert stress_test(Swing(), slow, FRAMES, 2_000, rate=0.0, length=7).outside > 100
    monkeypatch.undo()
    assert stress_test(Swing(), slow, FRAMES, 2_000, rate=0.0, length=7).outside == 0


def test_growing_memory_does_not_pass():
    assert StressReport(memory_mb=(100.0, 104.0)).passed
    assert not StressReport(memory_mb=(100.0, 106.0)).passed


def test_an_empty_stream_is_refused():
    with pytest.raises(InputError, match="frames"):
        stress_test(Agent(), QUICK, FRAMES[:0], ticks=10)
