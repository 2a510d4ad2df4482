"""The controller's promise, over sequences of faults that nobody thought of."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_agent import BLOCK, DT, SIZE, SPEC, image

from export.robot.controller import OVERHEAD, Controller, Fault, Frame, Limits, Workspace
from planning.agent.restoring.camera import View
from robot_wm.core.errors import ConfigError, InputError, RobotWMError, StorageError

LATE = 0.05
BOX = Workspace((-0.3, -0.3), (0.3, 0.3), 0.1)
WHATEVER = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.floats(), max_size=3),
    st.just([[1], [1, 2]]), st.just(object()),
)  # fmt: skip
STAMPS = st.one_of(st.just("now"), st.floats(-2, 2), WHATEVER)
IMAGES = st.one_of(st.just("image"), st.just("same"), st.just("black"), st.just("half"), WHATEVER)
POSITIONS = st.one_of(st.just("here"), st.just("here"), WHATEVER)
ACTIONS = st.one_of(
    st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    st.tuples(st.floats(allow_nan=True, width=32), st.floats(width=32)),
    st.sampled_from([RuntimeError("x"), MemoryError(), KeyError("x"), StopIteration(), "hang"]),
    WHATEVER,
)
TICK = st.tuples(
    st.just("tick"),
    st.one_of(st.just(1.0), st.floats(-3, 12), st.just(float("nan"))),
    st.one_of(st.none(), st.tuples(IMAGES, STAMPS, POSITIONS), WHATEVER),
    ACTIONS,
)
EVENTS = st.lists(
    st.one_of(
        TICK, TICK, TICK, TICK,
        st.tuples(st.just("start"), st.one_of(st.just("image"), IMAGES)),
        st.tuples(st.just("think")),
        st.tuples(st.just("beside"), st.sampled_from(["start", "think"])),
    ),
    min_size=5,
    max_size=60,
)  # fmt: skip


class Agent:
    """Does what the next event says."""

    class model:
        spec = SPEC

    view = View()

    def __init__(self):
        self.next, self.inside = None, 0

    def reset(self, goal, seed):
        self._alone()

    def restart(self, seed):
        self._alone()

    def plan_async(self):
        self._alone()

    def act(self, obs):
        self._alone()
        assert obs["image"].shape == (SIZE, SIZE, 3)
        if isinstance(self.next, Exception):
            raise self.next
        if isinstance(self.next, str) and self.next == "hang":
            time.sleep(3 * LATE)
        return self.next

    def _alone(self):
        self.inside += 1
        assert self.inside == 1, "two threads at once"
        self.inside -= 1


def picture(what, number):
    kinds = {
        "image": image(number), "same": image(0), "black": np.zeros((SIZE, SIZE, 3), np.uint8),
        "half": image(0)[1:],
    }  # fmt: skip
    return kinds[what] if isinstance(what, str) and what in kinds else what


@settings(max_examples=150, deadline=None, derandomize=True)
@given(events=EVENTS, box=st.booleans(), change=st.sampled_from([0.05, 0.3, 5.0]))
def test_the_promise_holds_whatever_happens(events, box, change):
    agent, here, now, started = Agent(), np.zeros(2), 0.0, False
    limits = Limits(change, (0.0, 0.0), 0.25, LATE, patience=3, workspace=BOX if box else None)
    controller = Controller(agent, limits)
    controller.start(image(99))
    last, told = np.zeros(2), 0
    for number, event in enumerate(events):
        if event[0] == "think":
            controller.think()
        elif event[0] == "beside":
            work = controller.think if event[1] == "think" else lambda: controller.start(image(98))
            threading.Thread(target=work, daemon=True).start()
            started = started or event[1] == "start"
        elif event[0] == "start":
            try:
                controller.start(picture(event[1], number))
            except InputError:
                assert event[1] != "image"
        else:
            _, pace, seen, agent.next = event
            now += 0.0 if np.isnan(pace) else pace * DT
            frame = seen
            if isinstance(seen, tuple):
                what, stamp, where = seen
                stamp = now if isinstance(stamp, str) and stamp == "now" else stamp
                place = here.copy() if isinstance(where, str) and where == "here" else where
                frame = Frame(picture(what, number), stamp, place)
            before, began = controller.stopped, time.perf_counter()
            command = controller.tick(float("nan") if np.isnan(pace) else now, frame)
            took = time.perf_counter() - began
            assert took < LATE + OVERHEAD + 0.2  # what other processes take comes on top
            assert np.isfinite(command.action).all()
            assert (np.abs(command.action) <= 1).all()
            assert np.abs(command.action - last).max() <= change + 1e-6
            if box:
                here = here + 0.1 * command.action
                assert (np.abs(here) <= 0.3 + 1e-6).all()
            assert command.stopped or not before or started  # nothing but a start clears a stop
            last, told = command.action, told + len(command.faults)
    assert sum(controller.faults.values()) == told
    assert controller.ticks == sum(event[0] == "tick" for event in events)


def test_after_patience_of_any_fault_it_stops_and_stays():
    for broken in (None, "text", Frame(image(0)[1:], 0.0), Frame(image(0), -1.0)):
        controller = Controller(Agent(), Limits(0.5, (0.0, 0.0), 0.25, LATE, patience=3))
        controller.agent.next = (1.0, 1.0)
        controller.start(image(99))
        stops = [controller.tick(k * DT, broken).stopped for k in range(4 * BLOCK)]
        assert stops == [False] * (2 * BLOCK) + [True] * (2 * BLOCK)


def test_a_hung_planner_holds_and_its_answer_is_thrown_away():
    agent = Agent()
    controller = Controller(agent, Limits(0.5, (0.0, 0.0), 0.25, LATE))
    agent.next = "hang"
    controller.start(image(99))
    began = time.perf_counter()
    first = controller.tick(0.0, Frame(image(0), 0.0))
    assert LATE <= time.perf_counter() - began < LATE + OVERHEAD + 0.2
    assert (first.faults, first.action.tolist()) == ((Fault.LATE,), [0.0, 0.0])
    for k in range(1, BLOCK):
        controller.tick(k * DT, Frame(image(k), k * DT))
    began, agent.next = time.perf_counter(), (1.0, 1.0)
    busy = controller.tick(BLOCK * DT, Frame(image(5), BLOCK * DT))
    assert time.perf_counter() - began < LATE  # it does not wait again for the same
    assert busy.faults == (Fault.LATE,)
    time.sleep(4 * LATE)
    for k in range(BLOCK + 1, 2 * BLOCK + 1):
        back = controller.tick(k * DT, Frame(image(k), k * DT))
    assert (back.faults, back.action.tolist()) == ((), [0.5, 0.5])


@pytest.mark.parametrize(
    "goal", ["text", None, np.zeros((SIZE, SIZE, 3), np.uint8), image(0)[1:], image(0) / 255.0]
)
def test_a_bad_goal_in_mid_episode_harms_nothing(goal):
    controller = Controller(Agent(), Limits(0.5, (0.0, 0.0), 0.25, LATE))
    controller.agent.next = (1.0, 1.0)
    controller.start(image(99))
    for k in range(20):
        command = controller.tick(k * DT, Frame(image(k), k * DT))
        if k in (3, 12):
            with pytest.raises(InputError):
                controller.start(goal)
            with pytest.raises(InputError):
                controller.start(image(98), via=[goal])
        assert not command.faults
    assert command.action.tolist() == [1.0, 1.0]


def test_start_beside_the_ticks_loses_none():
    controller = Controller(Agent(), Limits(0.5, (0.0, 0.0), 0.25, 0.5))
    controller.agent.next = (1.0, 1.0)
    controller.start(image(99))
    done = threading.Event()

    def starts():
        for k in range(50):
            controller.start(image(k))
        done.set()

    threading.Thread(target=starts, daemon=True).start()
    ticks, last = 0, np.zeros(2)
    while not done.is_set():
        command = controller.tick(ticks * DT, Frame(image(ticks), ticks * DT))
        assert np.abs(command.action - last).max() <= 0.5 + 1e-6
        ticks, last = ticks + 1, command.action
    assert controller.ticks == ticks
    assert not set(controller.faults) - {Fault.STARTING}


def test_a_full_disk_does_not_stop_the_robot():
    class Full:
        def close(self): ...

        def tick(self, image, action): ...

        def flush(self):
            raise StorageError("cannot write", "a disk with space", "free space")

    controller = Controller(Agent(), Limits(0.5, (0.0, 0.0), 0.25, LATE), log=Full())
    controller.agent.next = (1.0, 1.0)
    controller.start(image(99))
    command = controller.tick(0.0, Frame(image(0), 0.0))
    assert (command.faults, command.action.tolist()) == ((Fault.LOG,), [0.5, 0.5])


@pytest.mark.parametrize("room", [0.0, 0.01, 0.3, 1.0, 2.5, 7.0])
@pytest.mark.parametrize("step", [0.05, 0.3, 1.0, 5.0])
def test_one_stops_within_the_distance(room, step):
    from export.robot.safety_limits import braking

    speed = float(braking(np.array([room]), step)[0])
    terms = np.maximum(speed - step * np.arange(1000), 0)
    assert terms.sum() <= room + 1e-9
    faster = np.maximum(speed + 1e-6 - step * np.arange(1000), 0)
    assert faster.sum() > room  # and no faster would do


def test_it_needs_a_goal_first():
    with pytest.raises(ConfigError, match="start"):
        Controller(Agent(), Limits(0.5, (0.0, 0.0), 0.25, LATE)).tick(0.0, None)
    assert issubclass(ConfigError, RobotWMError)
