"""The controller under every fault: never outside its limits, every fault named."""

from dataclasses import replace

import numpy as np
import pytest
from scripted_agent import BLOCK, DT, LIMITS, SIZE, Agent, Model, image

from export.robot.controller import Controller, Fault, Frame, Limits, Workspace
from robot_wm.core.errors import ConfigError, InputError


@pytest.fixture
def agent():
    return Agent()


@pytest.fixture
def controller(agent):
    made = Controller(agent, LIMITS, clock=lambda: agent.time)
    made.start(image(99))
    return made


def drive(controller, steps, frame=None, first=0):
    commands = []
    for k in range(first, first + steps):
        given = Frame(image(k), k * DT) if frame is None else frame(k)
        commands.append(controller.tick(k * DT, given))
    return commands


def test_without_faults_the_agent_drives_within_the_rate_limit(controller, agent):
    commands = drive(controller, 10)
    assert agent.calls == 10
    assert not controller.faults
    # .5 per step towards (1, -1), then held at the bound.
    np.testing.assert_allclose(commands[0].action, (0.5, -0.5))
    np.testing.assert_allclose(commands[1].action, (1.0, -1.0))
    np.testing.assert_allclose(commands[9].action, (1.0, -1.0))


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (lambda k: None, Fault.NO_FRAME),
        (lambda k: Frame(image(k), k * DT - 1.0), Fault.STALE),
        (lambda k: Frame(image(k), k * DT + 1.0), Fault.STALE),
        (lambda k: Frame(image(k), float("nan")), Fault.STALE),
        (lambda k: Frame(image(k)[:-1], k * DT), Fault.MALFORMED),
        (lambda k: Frame(image(k).astype(np.float32), k * DT), Fault.MALFORMED),
        (lambda k: Frame(np.full((SIZE, SIZE, 3), np.nan), k * DT), Fault.MALFORMED),
        (lambda k: Frame(np.zeros((SIZE, SIZE, 3), np.uint8), k * DT), Fault.BLANK),
    ],
)
def test_a_bad_frame_holds_for_its_block_and_then_it_goes_on(controller, agent, frame, fault):
    drive(controller, 5)
    bad = drive(controller, 5, frame, first=5)
    assert bad[0].faults == (fault,)
    assert agent.calls == 5  # the agent never saw it
    np.testing.assert_allclose(bad[-1].action, 0, atol=1e-6)  # came to rest within the rate limit
    np.testing.assert_allclose(bad[0].action, (0.5, -0.5))
    assert controller.faults == {fault: 1}
    good = drive(controller, 5, first=10)
    assert not good[0].faults
    assert agent.resets == 2  # the start, and once more for the history that was void
    np.testing.assert_allclose(good[-1].action, (1.0, -1.0))


def test_an_unknown_scene_is_not_planned_from(agent):
    agent.model = Model()
    agent.model.is_novel = lambda frame: bool(frame[0, 0, 0] > 127)
    controller = Controller(agent, LIMITS, clock=lambda: agent.time)
    controller.start(image(99))
    known, unknown = np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 200, np.uint8)
    known[1], unknown[1] = 90, 90  # not blank
    for k, seen in enumerate([known] * 5 + [unknown] * 5):
        command = controller.tick(k * DT, Frame(seen, k * DT))
        assert command.faults == ((Fault.NOVEL,) if k == 5 else ())
    assert agent.calls == 5


def test_thinking_between_two_steps_is_watched_too(controller, agent):
    thoughts = []

    def think():
        thoughts.append(agent.time)
        agent.time += agent.seconds
        if len(thoughts) == 9:
            raise InputError("a broken planner", "a working one", "this error is on purpose")

    controller.think()  # an agent that cannot think ahead is left in peace
    agent.plan_async = think
    faults = []
    for k in range(15):
        command = controller.tick(k * DT, Frame(image(k), k * DT))
        faults.append(command.faults)
        controller.think()
        agent.seconds = 0.15 if k == 2 else 0.0
    assert faults[4] == ()  # .15 s in thought are allowed
    assert len(thoughts) == 14  # not while what was planned is void
    agent.seconds = 0.5
    controller.think()
    agent.seconds = 0.0
    late = controller.tick(1.5, Frame(image(15), 1.5))
    assert late.faults == (Fault.LATE,)
    assert faults[9] == (Fault.PLANNER,)
    assert [k for k, found in enumerate(faults) if found] == [9]
    held = controller.tick(1.6, Frame(image(16), 1.6))
    np.testing.assert_allclose(held.action, (0, 0))


def test_a_frozen_camera_is_noticed_only_while_moving(controller, agent):
    same = image(0)
    commands = drive(controller, 25, lambda k: Frame(same, k * DT))
    # Blocks 1, 2, 3 equal block 0 although it moves: the fourth equal image is a dead camera.
    assert [k for k, c in enumerate(commands) if Fault.FROZEN in c.faults] == [15, 20]
    # It goes on being dead although nothing moves any more, so the robot stops for good.
    assert drive(controller, 5, lambda k: Frame(same, k * DT), first=25)[0].stopped
    agent.action = (0.0, 0.0)
    controller.start(image(99))
    assert not any(c.faults for c in drive(controller, 40, lambda k: Frame(same, k * DT)))


@pytest.mark.parametrize(
    "action", [(np.nan, 0.0), (np.inf, 0.0), (0.0,), InputError("a", "b", "c"), ZeroDivisionError()]
)
def test_a_failing_planner_never_moves_the_robot(controller, agent, action):
    agent.action = action
    commands = drive(controller, 5)
    assert controller.faults == {Fault.PLANNER: 1}
    assert agent.calls == 1
    np.testing.assert_array_equal([c.action for c in commands], np.zeros((5, 2)))


def test_a_late_plan_is_not_used_and_three_in_a_row_stop(controller, agent):
    agent.seconds = 0.3
    commands = drive(controller, 12)
    assert [c.stopped for c in commands].index(True) == 10
    assert controller.faults == {Fault.LATE: 3}
    agent.seconds = 0.0
    assert agent.calls == 3
    assert drive(controller, 20, first=12)[-1].stopped  # it stays stopped
    assert agent.calls == 3
    controller.start(image(99))
    assert not drive(controller, 5)[-1].stopped
    assert agent.calls == 8


@pytest.mark.parametrize("jump", [100.0, -100.0, float("nan"), float("inf")])
def test_a_clock_jump_holds_until_the_next_block(controller, agent, jump):
    drive(controller, 3)
    hurt = controller.tick(3 * DT + jump, Frame(image(3), 3 * DT))
    assert hurt.faults == (Fault.CLOCK,)
    assert agent.calls == 3


def test_random_faults_for_many_steps_leave_the_limits_intact(agent):
    rng = np.random.default_rng(0)
    controller = Controller(agent, LIMITS, clock=lambda: agent.time)
    controller.start(image(99))
    now, last = 0.0, np.zeros(2)
    odd = (None, Frame(image(0)[1:], 0.0), Frame(np.zeros((SIZE, SIZE, 3), np.uint8), 0.0))
    for k in range(5_000):
        now += DT if rng.random() > 0.01 else rng.normal() * 100
        agent.action = rng.normal(0, 3, 2) if rng.random() > 0.02 else (np.nan, 1.0)
        agent.seconds = 0.0 if rng.random() > 0.02 else 1.0
        frame = Frame(image(k), now) if rng.random() > 0.1 else odd[k % 3]
        command = controller.tick(now, frame)
        assert np.isfinite(command.action).all()
        assert np.abs(command.action).max() <= 1
        assert np.abs(command.action - last).max() <= 0.5 + 1e-6
        last = command.action
        if command.stopped:
            controller.start(image(99))
    assert controller.ticks == 5_000
    wanted = {Fault.NO_FRAME, Fault.MALFORMED, Fault.CLOCK, Fault.LATE, Fault.PLANNER}
    assert wanted <= set(controller.faults)


def test_impossible_limits_are_refused(agent):
    with pytest.raises(ConfigError, match="max_frame_age_s"):
        Limits(max_change=1.0, noop_action=(0.0, 0.0), max_frame_age_s=0.0, max_plan_time_s=0.1)
    with pytest.raises(ConfigError, match="noop_action"):
        Controller(
            agent,
            Limits(
                max_change=1.0, noop_action=(2.0, 0.0), max_frame_age_s=1.0, max_plan_time_s=0.1
            ),
        )
    with pytest.raises(ConfigError, match="start"):
        Controller(agent, LIMITS).tick(0.0, None)


BOX = Workspace(low=(0.0, 0.0), high=(0.5, 0.5), reach=0.1)


def test_the_target_never_leaves_the_workspace(agent):
    """A robot that goes where it is told, wherever the planner wants it."""
    rng, here = np.random.default_rng(0), np.array([0.45, 0.05])
    controller = Controller(agent, replace(LIMITS, workspace=BOX), clock=lambda: agent.time)
    controller.start(image(99))
    bound = 0
    for k in range(300):
        if k % BLOCK == 0:
            agent.action = tuple(rng.choice([-1.0, 1.0], 2))
        command = controller.tick(k * DT, Frame(image(k), k * DT, here.copy()))
        assert not command.faults
        here = here + 0.1 * command.action
        assert (here > -1e-6).all()
        assert (here < 0.5 + 1e-6).all()
        bound += bool((np.minimum(here, 0.5 - here) < 1e-6).any())
    assert bound > 30  # it was tried


def test_every_entry_has_its_own_reach(agent):
    """An arm whose second number turns the hand: 0.3 rad a step where the first moves 0.05 m."""
    box = Workspace(low=(0.0, -1.0), high=(0.5, 1.0), reach=(0.05, 0.3))
    controller = Controller(agent, replace(LIMITS, workspace=box), clock=lambda: agent.time)
    controller.start(image(99))
    here, agent.action = np.array([0.3, 0.0]), (1.0, 1.0)
    for k in range(60):
        command = controller.tick(k * DT, Frame(image(k), k * DT, here.copy()))
        here = here + np.array(box.reach) * command.action
        assert (here <= np.array(box.high) + 1e-6).all()
    np.testing.assert_allclose(here, box.high, atol=1e-3)


def test_outside_the_workspace_it_holds_or_moves_in_but_never_by_itself(controller):
    spaced = Controller(controller.agent, replace(LIMITS, workspace=BOX, max_change=2.0))
    spaced.start(image(99))
    outside = np.array([0.55, -0.3])
    out = spaced.tick(0.0, Frame(image(0), 0.0, outside))  # the agent wants (1, -1): further out
    assert (out.action.tolist(), out.faults) == ([0.0, 0.0], ())
    controller.agent.action = (-1.0, 1.0)
    assert spaced.tick(DT, Frame(image(1), DT, outside)).action.tolist() == [-1.0, 1.0]
    controller.agent.action = ValueError()
    for k in range(2, 30):
        held = spaced.tick(k * DT, Frame(image(k), k * DT, outside))
    assert (held.action.tolist(), held.stopped) == ([0.0, 0.0], True)


def test_an_old_position_is_no_position(controller):
    spaced = Controller(controller.agent, replace(LIMITS, workspace=BOX))
    spaced.start(image(99))
    inside = np.array([0.2, 0.2])
    assert not spaced.tick(0.0, Frame(image(0), 0.0, inside)).faults
    late = spaced.tick(DT, Frame(image(0), DT - 0.3, inside))  # in the middle of a block
    assert (late.faults, late.action.tolist()) == ((Fault.LOST,), [0.0, 0.0])


@pytest.mark.parametrize("position", [None, np.zeros(3), np.array([np.nan, 0.1])])
def test_without_a_position_it_holds(controller, position):
    spaced = Controller(controller.agent, replace(LIMITS, workspace=BOX))
    spaced.start(image(99))
    lost = spaced.tick(0.0, Frame(image(0), 0.0, position))
    assert (lost.faults, lost.action.tolist()) == ((Fault.LOST,), [0.0, 0.0])


def test_impossible_workspaces_are_refused(agent):
    for wrong in (
        ((0.0,), (0.0, 1.0), 0.1), ((0.0, 1.0), (1.0, 1.0), 0.1), ((0.0,), (1.0,), 0.0),
        ((0.0, 0.0), (1.0, 1.0), (0.1,)), ((0.0, 0.0), (1.0, 1.0), (0.1, 0.0)),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="workspace"):
            Workspace(*wrong)
    with pytest.raises(ConfigError, match="workspace of 1 entries"):
        Controller(agent, replace(LIMITS, workspace=Workspace((0.0,), (1.0,), 0.1)))
