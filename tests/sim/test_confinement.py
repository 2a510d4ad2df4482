"""Whatever is planned, a robot whose driver confines it stays in the picture."""

import itertools

import numpy as np
import pytest

from sim.tasks import TASKS

CONFINED = [name for name in sorted(TASKS) if TASKS[name].confinement is not None]
# OGBench's own box for the gripper reaches a little beyond its picture (4 % seen).
WIDER = ("cube",)
WAYS = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1], [1, -1], [-1, 1]], float)


def farthest(env, way, confine, **factors):
    """Largest distance of the robot's place from the picture's middle on a way outwards [m]."""
    _, info = env.reset(seed=1, options={"factors": factors})
    low, high = env.task.extent
    worst = 0.0
    for _ in range(40):
        action = env.task.clip_to_workspace(info["pose"], way) if confine else way
        info = env.step(action)[-1]
        place = info["pose"][list(env.task.confinement.pose)]
        worst = max(worst, float(np.abs(place - (low + high) / 2).max()))
    return worst


@pytest.mark.parametrize("task", [t for t in sorted(TASKS) if t not in (*CONFINED, *WIDER)])
def test_where_nothing_confines_it_the_scene_itself_keeps_the_robot_in_the_picture(task, blind):
    """Full commands to every corner, as a planner may give them, through the task's own driver."""
    env = blind(task)
    for corner in itertools.product((-1.0, 1.0), repeat=min(env.spec.control_dim, 3)):
        action = np.zeros(env.spec.control_dim)
        action[: len(corner)] = corner
        _, info = env.reset(seed=1, options={})
        poses = []
        for _ in range(40):
            info = env.step(env.task.clip_to_workspace(info["pose"], action))[-1]
            poses.append(info["pose"])
        paths = env.paths(np.array(poses))
        if not paths:  # a task without landmarks
            continue
        robot = next(iter(paths.values()))
        assert (robot > 0).all(), (corner, robot.min(axis=0))
        assert (robot < 1).all(), (corner, robot.max(axis=0))
    env.reset(seed=0, options={})


@pytest.mark.parametrize("task", CONFINED)
@pytest.mark.parametrize("gain", [1.0, 0.7, 1.3])
def test_full_commands_outwards_end_inside(task, gain, blind):
    env = blind(task)
    low, high = env.task.extent
    for way in np.unique(WAYS[:, : env.spec.control_dim], axis=0):
        assert farthest(env, way, True, gain=gain) < (high - low) / 2
    env.reset(seed=0, options={})


@pytest.mark.parametrize("task", CONFINED)
def test_without_it_the_robot_leaves_and_from_outside_it_comes_back(task, blind):
    env = blind(task)
    low, high = env.task.extent
    way = WAYS[0, : env.spec.control_dim]
    assert farthest(env, way, False) > (high - low) / 2
    info, place = env._info(), list(env.task.confinement.pose)
    for _ in range(60):  # far outside it is turned round, whatever is wanted
        info = env.step(env.task.clip_to_workspace(info["pose"], way))[-1]
    assert (info["pose"][place] < high).all()
    env.reset(seed=0, options={})
