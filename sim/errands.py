"""Starts and goals that are drawn in the scene instead of taken from recorded episodes."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.env import GoalEnv
from sim.tasks import TASKS
from sim.tasks.abilities import DrawsPairs, Posable, able

ANYWHERE = "anywhere"
End = tuple[np.ndarray, np.ndarray]
"""Full physics state ``[S]`` and pose ``[K]``."""


def errand(task: str) -> str:
    """What a task's drawn pairs are called in rows; :data:`ANYWHERE` without a rule of its own."""
    made = TASKS[task]()
    return made.errand if isinstance(made, DrawsPairs) else ANYWHERE


def sample_ends(env: GoalEnv, number: int, rng: np.random.Generator) -> tuple[End, End]:
    """Start and goal at rest, in the unvaried scene.

    By the task's own rule (:class:`~sim.tasks.abilities.DrawsPairs`); without one both are states
    at which an episode may begin. The scene is left somewhere else.

    Args:
        number: of the pair; errands of several kinds take turns.
    """
    env.reset(options={})
    if isinstance(env.task, DrawsPairs):
        start, goal = env.task.sample_pair(number, rng)
        return _end(env, rng, start), _end(env, rng, goal)
    return _end(env, rng), _end(env, rng)


def _end(env: GoalEnv, rng: np.random.Generator, pose: np.ndarray | None = None) -> End:
    """The scene brought into a pose, or into a state at which an episode may begin."""
    mujoco.mj_resetData(env.model, env.data)
    if pose is None:
        env.task.sample_initial_state(env.data, rng)
    else:
        able(env.task, Posable, "a pair of its own").set_pose(env.data, pose)
    mujoco.mj_forward(env.model, env.data)
    return env.state(), env.task.pose(env.data.qpos, env.data.qvel).copy()
