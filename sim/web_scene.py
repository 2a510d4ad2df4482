"""What a scene's twin in another runtime (a browser) needs, and what it is compared with.

The twin loads the same MJCF file and holds no code of the task: an action becomes actuator commands
by a matrix that is read off :meth:`sim.tasks.base.Task.controls` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.images import sides
from sim.env import GoalEnv
from sim.policies.registry import make_policy
from sim.tasks.base import Task


class NoTwin(ConfigError):
    """A scene that another runtime cannot run from its file alone."""


NUDGE = 1e-12  # of a start, far below anything that a robot could notice [m or rad]
NUDGED = 16  # runs from nudged starts
STEPS = 25  # control steps from start to goal, as in the published pairs
POLICY = "expert"


@dataclass(frozen=True)
class Demonstration:
    """A scripted run: a start, a goal that can be reached, and what lies between.

    Attributes:
        seed: of the start.
        states: float64 ``[T+1, nq + nv]``, joint positions and velocities at control steps.
        actions: float32 ``[T, A]`` in [-1, 1].
        images: uint8 ``[2, height, width, 3]``, of the first and the last state.
        start: full physics state, as ``reset`` restores it.
    """

    seed: int
    states: np.ndarray
    actions: np.ndarray
    images: np.ndarray
    start: np.ndarray


def mjcf(env: GoalEnv) -> str:
    """The scene's file, which is the scene itself as long as no factor is varied.

    Raises:
        NoTwin: the scene is put together from more than this file, e.g. an arm with its meshes.
    """
    text = env.task.scene.read_text(encoding="utf-8")
    whole = env.model
    if whole.nmesh or mujoco.MjModel.from_xml_string(text).ngeom != whole.ngeom:
        raise NoTwin(
            f"the scene of {env.task.name} is more than {env.task.scene.name}",
            "a scene in one MJCF file, without meshes", "run this scene in Python",
        )  # fmt: skip
    return text


def command_matrix(task: Task, model: mujoco.MjModel) -> np.ndarray:
    """``M [rows, nu, nq + nv + A]``: commands ``M @ [qpos, qvel, action]`` of one control step.

    Raises:
        NoTwin: the task's commands are not such a product.
    """
    sizes = (model.nq, model.nv, task.control_dim)
    inputs = np.eye(sum(sizes))

    def ask(rows: np.ndarray) -> np.ndarray:
        qpos, qvel, action = np.split(rows, np.cumsum(sizes)[:2], axis=1)
        return task.controls(qpos, qvel, action[:, None])

    matrix = np.moveaxis(ask(inputs), 0, -1)
    probes = np.random.default_rng(0).uniform(-1, 1, (8, sum(sizes)))
    gap = np.abs(np.einsum("ruk,nk->nru", matrix, probes) - ask(probes)).max()
    if gap > 1e-12:
        raise NoTwin(
            f"the commands of {task.name} are not linear in state and action (off by {gap:.1e})",
            "a linear task", "run this scene in Python",
        )  # fmt: skip
    return matrix


def check_square(env: GoalEnv) -> None:
    """Refuse what the page cannot show.

    Raises:
        ConfigError: pictures that are not square.
    """
    height, width = sides(env.spec.image_size)
    if height != width:
        raise ConfigError(
            f"pictures of {width}x{height} pixels", "square ones", "run this scene in Python"
        )


def describe(env: GoalEnv, demonstrations: list[Demonstration]) -> Mapping[str, Any]:
    """Everything but the MJCF, as plain values; a start is at rest.

    Raises:
        NoTwin: pictures that are not from the scene's first camera, or see :func:`command_matrix`.
    """
    if env.model.camera(env.task.camera).id != 0:
        raise NoTwin(
            f"pictures of camera {env.task.camera!r}", "of the scene's first camera",
            "run this scene in Python",
        )  # fmt: skip
    still = np.zeros(env.model.nv)
    return {
        "task": env.task.name,
        "control_dt": env.task.control_dt,
        "hold_steps": env.task.hold_steps,
        "confinement": asdict(env.task.confinement) if env.task.confinement else None,
        "extent": env.task.extent,
        "view": env.task.view,
        "commands": command_matrix(env.task, env.model).tolist(),
        "pairs": [
            [[*state[: env.model.nq], *still] for state in (d.states[0], d.states[-1])]
            for d in demonstrations
        ],
    }


def demonstrate(env: GoalEnv, seed: int, steps: int = STEPS) -> tuple[Demonstration, np.ndarray]:
    """One scripted run with its poses ``[T+1, K]``."""
    obs, info = env.reset(seed=seed)
    policy = make_policy(env.task.name, POLICY)
    policy.reset(np.random.default_rng(seed))
    start, first = info["state"], obs["image"]
    states, poses, actions = [_joints(env)], [info["pose"]], []
    for _ in range(steps):
        actions.append(policy.act(info["pose"]))
        obs, _, _, _, info = env.step(actions[-1])
        states.append(_joints(env))
        poses.append(info["pose"])
    images = np.stack([first, obs["image"]])
    made = Demonstration(seed, np.array(states), np.array(actions), images, start)
    return made, np.array(poses)


def _joints(env: GoalEnv) -> np.ndarray:
    return np.concatenate([env.data.qpos, env.data.qvel])


def demonstrations(env: GoalEnv, count: int) -> list[Demonstration]:
    """The ``count`` of twice as many eligible runs in which most is moved, so that none is dull."""
    found: list[tuple[float, Demonstration]] = []
    seed = 0
    while len(found) < 2 * count:
        made, poses = demonstrate(env, seed)
        seed += 1
        if env.task.eligible(poses, "strict"):
            found.append((float(env.task.distance(poses[0], poses[-1])), made))
    best = sorted(found, key=lambda item: -item[0])[:count]
    return sorted((made for _, made in best), key=lambda made: made.seed)


def spread(env: GoalEnv, demonstration: Demonstration) -> np.ndarray:
    """How far the same actions stray from a run when its start is nudged: float64 ``[T]``.

    Contacts switch, so a push magnifies the last digit of a start to millimetres. A twin cannot be
    closer to us than we are to ourselves; where nothing is touched, the nudge itself remains.

    Returns:
        Largest difference of any joint position so far, over all nudged runs [m or rad].
    """
    rng, nq = np.random.default_rng(demonstration.seed), env.model.nq
    drew, env.draw_images = env.draw_images, False
    worst = np.full(len(demonstration.actions), NUDGE)
    for _ in range(NUDGED):
        env.reset(options={"state": demonstration.start})
        env.data.qpos += NUDGE * rng.uniform(-1, 1, nq)
        mujoco.mj_forward(env.model, env.data)
        for t, action in enumerate(demonstration.actions):
            env.step(action)
            gap = np.abs(env.data.qpos - demonstration.states[t + 1, :nq]).max()
            worst[t] = max(worst[t], gap)
    env.draw_images = drew
    return np.maximum.accumulate(worst)
