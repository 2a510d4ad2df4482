"""What an environment is given: right or refused by name, for every factor of every task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError, InputError, RobotWMError
from sim import TASKS, make
from sim.benchmark import bench_rendering
from sim.goal_images import goal_from_pose
from sim.randomization import NAMED_COLORS

NO_VALUES: list[Any] = [
    None, -1e3, 1e9, float("nan"), float("inf"), True, "abc", "", {}, {"a": 1}, [], [1, 0],
    [2, 0, 0], [-1, 0, 0], ["a", "b", "c"], [float("nan"), 0, 0], b"x", 10**400, 1 + 2j,
]  # fmt: skip


@pytest.mark.parametrize("task", sorted(TASKS))
def test_impossible_values_of_factors_are_refused_by_name(task: str) -> None:
    env = make(task, draw_images=False)
    for name, factor in env.task.factors.items():
        for value in NO_VALUES:
            with pytest.raises(ConfigError, match=name):
                env.reset(seed=0, options={"factors": {name: value}})
        for level in (factor.nominal, *factor.held_out):
            env.reset(seed=0, options={"factors": {name: level}})
            env.step(np.ones(env.spec.control_dim))
            assert np.isfinite(env.state()).all()
    with pytest.raises(ConfigError, match="roughness"):
        env.reset(options={"factors": {"roughness": 1}})


def test_the_scenes_own_names_of_colours_are_values() -> None:
    env = make("push_t", draw_images=False)
    for name, rgb in NAMED_COLORS.items():
        _, info = env.reset(seed=0, options={"factors": {"agent_color": name}})
        assert info["factors"]["agent_color"] == rgb


@pytest.mark.parametrize(
    "options",
    [
        "x", 5, [1], {"state": "abc"}, {"state": None}, {"state": [1]}, {"factors": "x"},
        {"factors": [1]}, {"factors": {1: 2}}, {"variation": "all"}, {"variation": ["foo"]},
        {"variation": 3}, {"variation": [1]}, {"rest": "yes"}, {"sate": 1},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(options: Any) -> None:
    with pytest.raises(RobotWMError):
        make("two_room", draw_images=False).reset(seed=0, options=options)


@pytest.mark.parametrize(
    "action", ["x", None, [1], [np.nan, 0], [[1, 2]], {}, [None, 1], ["a", "b"], [1 + 2j, 0]]
)
def test_impossible_actions_are_refused(action: Any) -> None:
    env = make("two_room", draw_images=False)
    env.reset(seed=0)
    with pytest.raises(InputError, match="action"):
        env.step(action)


@pytest.mark.parametrize("seed", [-1, 1.5, "a", True])
def test_impossible_seeds_are_refused(seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed"):
        make("two_room", draw_images=False).reset(seed=seed)


def test_numpys_whole_numbers_are_seeds() -> None:
    env = make("two_room", draw_images=False)
    mine, theirs = (env.reset(seed=seed)[1]["state"] for seed in (3, np.int64(3)))
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 0}, {"image_size": -1}, {"image_size": "a"}, {"image_size": 1.5},
        {"image_size": 10**6}, {"image_size": True}, {"draw_images": "no"}, {"task": None},
        {"task": ["two_room"]}, {"task": "three_room"},
    ],
)  # fmt: skip
def test_impossible_environments_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make(**{"task": "two_room", **options})


def test_poses_and_measurements_want_numbers() -> None:
    env = make("push_t", draw_images=False)
    env.reset(seed=0)
    with pytest.raises(InputError, match="block_x"):
        goal_from_pose(env, {"block_x": "left"})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="frames"):
        bench_rendering("push_t", frames=0)
