"""Whatever is planned, a robot whose driver confines it stays in the picture."""

import numpy as np
import pytest

from sim.tasks import TASKS

CONFINED = [name for name in sorted(TASKS) if TASKS[name].confinement is not None]
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


@pytest.mark.parametrize("task", CONFINED)
@pytest.mark.parametrize("gain", [1.0, 0.7, 1.3])
def test_full_commands_outwards_end_inside(task, gain, blind):
    env = blind(task)
    low, high = env.task.extent
    for way in WAYS:
        assert farthest(env, way, True, gain=gain) < (high - low) / 2
    env.reset(seed=0, options={})


@pytest.mark.parametrize("task", CONFINED)
def test_without_it_the_robot_leaves_and_from_outside_it_comes_back(task, blind):
    env = blind(task)
    low, high = env.task.extent
    assert farthest(env, WAYS[0], False) > (high - low) / 2
    info, place = env._info(), list(env.task.confinement.pose)
    for _ in range(60):  # far outside it is turned round, whatever is wanted
        info = env.step(env.task.clip_to_workspace(info["pose"], WAYS[0]))[-1]
    assert (info["pose"][place] < high).all()
    env.reset(seed=0, options={})
