"""Success predicates on hand-made poses. Row 0 is the start and never counts."""

import numpy as np

from sim import TASKS
from sim.tasks.base import hold, wrap
from sim.tasks.reacher import fingertip


def hits(task, family, poses, goal):
    return TASKS[task].predicates[family](np.array(poses, float), np.array(goal, float)).tolist()


def test_push_t_predicates():
    goal = [0.1, 0.1, 0.3, 0.3, 0.1, 0, 0]

    def pose(pusher=0.0, block=0.0, degrees=0.0):
        return [0.1 + pusher, 0.1, 0.3, 0.3 + block, 0.1 + np.deg2rad(degrees), 9, 9]

    poses = [pose(), pose(0.0139, 0.0139), pose(0.0143, 0.0143), pose(degrees=19.9),
             pose(degrees=20.1), pose(degrees=360 - 19.9), pose(0.021)]  # fmt: skip
    for family in ("official", "moderate"):
        assert hits("push_t", family, poses, goal) == [True, False, True, False, True, False]
    near, far, turned = pose(0.3, 0.0099, -9.9), pose(0, 0.0101), pose(degrees=10.1)
    assert hits("push_t", "strict", [near] * 4, goal) == [False, False, True]
    assert hits("push_t", "strict", [far] + [near] * 4, goal) == [False, False, True, True]
    for broken in (far, turned):
        poses = [near, near, near, broken, near, near, near]
        assert hits("push_t", "strict", poses, goal) == [False] * 5 + [True]


def test_long_pairs_lie_far_apart_or_behind_the_door():
    start = np.array([0.1, 0.1, 0.3, 0.3, 0.0, 0, 0])
    for dx, wanted in ((0.059, False), (0.061, True)):
        change = np.array([0, 0, dx * 0.6, dx * 0.8, 2.0, 9, 9])
        stretch = np.stack([start, start + change])
        assert TASKS["push_t"]().eligible(stretch, "long") is wanted
        assert TASKS["push_t"]().eligible(stretch, "strict")
    rooms = np.array([[0.5, 1.0], [2.0, 1.0]])
    assert TASKS["two_room"]().eligible(rooms, "long")
    assert not TASKS["two_room"]().eligible(rooms[[0, 0]], "long")


def test_reacher_predicates():
    goal, turn = [0.2, 1.0, 0, 0], 2 * np.pi
    poses = [[9, 9, 0, 0], [0.249, 0.951, 5, 5], [0.251, 1, 0, 0], [0.2, 1.051, 0, 0],
             [0.2 + turn, 1, 0, 0], [0.2, 1 + turn, 0, 0]]  # fmt: skip
    assert hits("reacher", "official", poses, goal) == [True, False, False, False, False]
    assert hits("reacher", "moderate", poses, goal) == [True, False, False, True, False]
    assert np.allclose(fingertip(np.array([np.pi / 2, -np.pi / 2])), [0.12, 0.12])
    near, far = [0.2 + 0.009 / 0.2106, 1, 0, 0], [0.2 + 0.011 / 0.2106, 1, 0, 0]
    assert hits("reacher", "strict", [near, near, far, near, near], goal) == [
        False, False, False, True,
    ]  # fmt: skip


def test_two_room_predicates():
    goal = [1.6, 1.0]
    route = [[0.8, 1.75], [1.0, 1.75], [1.3, 1.75], [1.6, 1.155], [1.6, 1.165], [1.6, 1.079]]
    for family in ("official", "moderate"):
        assert hits("two_room", family, route, goal) == [False, False, True, False, True]
    assert hits("two_room", "strict", route, goal) == [False] * 4 + [True]
    never_crossed = [[1.5, 1.0], [1.6, 1.0], [1.6, 1.0]]
    assert hits("two_room", "strict", never_crossed, goal) == [False, False]
    assert hits("two_room", "official", never_crossed, goal) == [True, True]
    wrong_side = [[0.8, 1.75], [1.3, 1.75], [1.10, 1.75]]
    assert hits("two_room", "strict", wrong_side, [1.13, 1.75]) == [False, False]


def test_hold_counts_consecutive_steps():
    ok = np.array([1, 1, 0, 1, 1, 1, 1], bool)
    assert hold(ok, 1).tolist() == ok.tolist()
    assert hold(ok, 3).tolist() == [False] * 5 + [True] * 2
    assert not hold(ok, 5).any()


def test_wrap():
    angles = np.array([0.0, np.pi, -np.pi, 3.5, -3.5, 20.0])
    wrapped = wrap(angles)
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    assert np.allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=1e-12)
