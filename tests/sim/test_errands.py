"""Starts and goals that are drawn in the scene."""

import numpy as np
import pytest

from sim.arms import orientation
from sim.errands import errand, sample_ends
from sim.tasks.cube import ANGLE, CUBE, HALF, OPENING, PICK_PLACE, PINCH, START, TURN


def drawn(env, count, seed=0):
    rng = np.random.default_rng(seed)
    return [sample_ends(env, number, rng) for number in range(count)]


def test_cube_is_picked_and_placed_as_in_ogbench(blind):
    cubes = pytest.importorskip("ogbench.manipspace.envs.cube_env")
    theirs = cubes.CubeEnv("single", ob_type="states", mode="task").task_infos
    assert errand("cube") == "pick_place"
    pairs = drawn(blind("cube"), 20)
    for number, ((_, start), (_, goal)) in enumerate(pairs):
        task = theirs[number % 5]
        (from_,), (to,) = task["init_xyzs"], task["goal_xyzs"]
        assert np.abs(start[CUBE][:2] - from_[:2]).max() <= 0.01
        np.testing.assert_allclose(goal[CUBE], to, atol=1e-12)
        assert start[CUBE][2] == HALF
        np.testing.assert_allclose(orientation.angle(goal[TURN], np.zeros(3)), 0, atol=1e-6)
    # Places differ by number alone; yaw and gripper of every pair are drawn.
    turns = np.array([start[TURN.start] for (_, start), _ in pairs])
    assert np.histogram(turns, 4, (0, 2 * np.pi))[0].min() >= 1
    hands = np.array([[start, goal] for (_, start), (_, goal) in pairs])
    low, high = START
    places = hands[..., PINCH]
    assert ((places > low - 1e-3) & (places < high + 1e-3)).all()
    assert np.abs(places[:, 0] - places[:, 1]).max(axis=1).min() > 0.01
    assert (hands[..., OPENING] < 0.01).all()
    assert np.ptp(hands[:, 1, ANGLE]) > np.pi
    assert len(PICK_PLACE) == len(theirs)


@pytest.mark.parametrize("task", ["cube", "jaco_push", "push_t"])
def test_ends_are_restored_and_stand_still(blind, task):
    env = blind(task)
    pairs = drawn(env, 2)
    for ends in pairs:
        for state, pose in ends:
            _, info = env.reset(options={"state": state})
            np.testing.assert_allclose(info["pose"], pose, atol=1e-9)
            still = env.step(np.zeros(env.spec.control_dim))[-1]["pose"]
            np.testing.assert_allclose(still, pose, atol=5e-3)
    again = drawn(env, 2)
    assert all(np.array_equal(a[0][0], b[0][0]) for a, b in zip(pairs, again, strict=True))


def test_a_task_without_a_rule_of_its_own_goes_anywhere(blind):
    assert errand("jaco_push") == "anywhere"
    places = np.array([[s[1][2:4], g[1][2:4]] for s, g in drawn(blind("jaco_push"), 20)])
    assert np.ptp(places, axis=0).min() > 0.05
    assert np.linalg.norm(places[:, 0] - places[:, 1], axis=1).mean() > 0.05
