"""Key frames of a demonstration: the scripted expert is watched once, then only its pictures stay.

A demonstration is data that somebody took with the true scene at hand; whoever plans afterwards
gets the pictures and nothing else. It begins with everything where the episode has it but the
robot, and ends at the episode's goal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError, InputError
from sim.env import GoalEnv
from sim.goal_images import TRIES, RecordedPair, free, goals_for_pair
from sim.policies.registry import make_policy, policies
from sim.tasks import TASKS

STEPS = 400  # control steps of a demonstration at most
STARTS = 10  # demonstrations until one succeeds


@runtime_checkable
class ShowsMilestones(Protocol):
    """A scripted expert that knows which moments of its work are worth a picture."""

    def milestones(self, poses: np.ndarray) -> list[int]:
        """Steps worth a picture, in their order; empty until its work is done.

        Args:
            poses: ``[T+1, K]`` of an episode towards the goal it was reset to.
        """
        ...


def demonstration(
    env: GoalEnv, state: np.ndarray, goal: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Key frames on the way from a start to a goal, under the scene's present factors.

    The scene is put back.

    Args:
        state: full physics state ``[S]`` of the start, in which the robot is put elsewhere.
        goal: pose ``[K]``.

    Returns:
        uint8 ``[V, height, width, 3]``, in their order, V from 1.

    Raises:
        ConfigError: a task whose expert shows no milestones, or whose poses cannot be set.
        InputError: the expert did not get there from any of :data:`STARTS` starts.
    """
    factors, before, drawn = dict(env.factors), env.state(), env.draw_images
    policy = _expert(env.task.name)
    for _ in range(STARTS):
        try:
            env.draw_images = False
            _elsewhere(env, state, factors, rng)
            policy.reset(rng, goal=goal, factors=factors)
            states, steps = _performed(env, policy)
        finally:
            env.draw_images = drawn
        if steps:
            images = [_restored(env, states[step], factors) for step in steps]
            env.reset(options={"state": before, "factors": factors})
            return np.stack(images)
    raise InputError(
        f"the expert of {env.task.name} did not reach the goal {np.round(goal, 3).tolist()}",
        f"a goal that it reaches in {STEPS} control steps from one of {STARTS} starts",
        "choose other pairs",
    )


class PairOfStates(RecordedPair, Protocol):
    """A start and a goal (``planning.evaluation.goal_pairs.Pair``)."""

    start_state: Sequence[float]
    goal_pose: Sequence[float]


def goals_with_demonstration(
    env: GoalEnv, pair: PairOfStates, seed: int, keep: Sequence[str]
) -> dict[str, np.ndarray]:
    """Goal pictures of an evaluated pair, with the scene at its goal, and those on the way there.

    Args:
        seed: of the robot's place at the demonstration's start.
        keep: see :func:`sim.goal_images.goals_for_pair`.

    Raises:
        ConfigError, InputError: see :func:`demonstration`.
    """
    start, goal = (np.asarray(each, np.float64) for each in (pair.start_state, pair.goal_pose))
    images = goals_for_pair(env, pair, seed, keep, via=0)
    return {**images, "via": demonstration(env, start, goal, np.random.default_rng(seed))}


def _expert(task: str) -> Any:
    policy = make_policy(task, "expert")
    if not isinstance(policy, ShowsMilestones):
        experts = [n for n in TASKS if "expert" in policies(n)]
        able = [n for n in experts if isinstance(make_policy(n, "expert"), ShowsMilestones)]
        raise ConfigError(
            f"a demonstration in {task}, whose expert shows no milestones", ", ".join(able),
            "add `milestones` to its expert, or choose another task",
        )  # fmt: skip
    return policy


def _elsewhere(
    env: GoalEnv, state: np.ndarray, factors: Mapping[str, Any], rng: np.random.Generator
) -> None:
    """The scene as in a state, at rest and with the robot where an episode may begin."""
    env.reset(options={"state": state, "factors": factors})
    task, data = env.task, env.data
    resting = task.at_rest(task.pose(data.qpos, data.qvel))
    robot = list(task.robot)
    for _ in range(TRIES):
        task.sample_initial_state(data, rng)
        pose = resting.copy()
        pose[robot] = task.pose(data.qpos, data.qvel)[robot]
        mujoco.mj_resetData(env.model, data)
        if free(env, pose):
            return
    raise InputError(f"no free place in {TRIES} tries", "some room", "choose another start")


def _performed(env: GoalEnv, policy: Any) -> tuple[list[np.ndarray], list[int]]:
    """States of one attempt and its milestones; none where it failed."""
    poses = [env.task.pose(env.data.qpos, env.data.qvel).copy()]
    states = [env.state()]
    for _ in range(STEPS):
        *_, info = env.step(policy.act(poses[-1]))
        poses.append(info["pose"])
        states.append(info["state"])
        if steps := policy.milestones(np.stack(poses)):
            return states, steps
    return states, []


def _restored(env: GoalEnv, state: np.ndarray, factors: Mapping[str, Any]) -> np.ndarray:
    obs, _ = env.reset(options={"state": state, "factors": factors})
    return obs["image"]
