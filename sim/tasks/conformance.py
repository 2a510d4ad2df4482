"""Does a task keep what every command relies on? For the test of whoever adds one.

from sim.tasks.conformance import check_task

def test_my_arm() -> None:
check_task("my_arm", image_size=(48, 64))
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Size
from sim.env import GoalEnv
from sim.policies.registry import make_policy, policies
from sim.tasks.abilities import Posable, Reflects

STEPS = 6


def check_task(name: str, image_size: Size = (24, 32)) -> None:
    """Try a task in a scene of its own.

    Args:
        name: registry name.
        image_size: of the pictures [px].

    Raises:
        ConfigError: it breaks a rule; the message says which, and what was found.
    """
    env = GoalEnv(name, image_size)
    parts = (_sizes, _motion, _goals, _abilities)
    try:
        for rule, holds, found in chain(*(part(env) for part in parts)):
            if not holds:
                raise ConfigError(
                    f"task {name}: {found}", rule, "correct the task, see sim/tasks/base.py"
                )
    finally:
        env.close()


Finding = tuple[str, bool, str]


def _sizes(env: GoalEnv) -> Iterator[Finding]:
    task, spec, (obs, info) = env.task, env.spec, env.reset(seed=0)
    shape = spec.image_height, spec.image_width, 3
    yield "pictures of the size asked for", obs["image"].shape == shape, f"{obs['image'].shape}"
    yield "something to see", float(obs["image"].std()) > 1, f"a blank picture of {task.camera!r}"
    felt = obs["proprio"].shape
    yield f"proprioception [{spec.proprio_dim}]", felt == (spec.proprio_dim,), f"{felt}"
    pose = info["pose"].shape
    yield f"a pose [{len(spec.pose)}], as `pose_entries`", pose == (len(spec.pose),), f"{pose}"
    names = spec.pose_names
    yield "each pose entry once", len(set(names)) == len(names), f"{names}"
    yield "`robot` within the pose", max(task.robot, default=0) < len(names), f"{task.robot}"
    words = len(task.full_command)
    yield "`full_command` for each control, or none", words in (0, task.control_dim), f"{words}"
    dt = task.ctrl_rows * task.hold_steps * env.model.opt.timestep
    yield (
        f"control_dt = {dt:g}, what is simulated",
        abs(dt - spec.control_dt) < 1e-9,
        (f"control_dt = {spec.control_dt:g}"),
    )
    yield "a predicate `official`", "official" in spec.families, f"{spec.families}"


def _motion(env: GoalEnv) -> Iterator[Finding]:
    """Commands have their shape, and a restored state goes on as the first time."""
    task, rng = env.task, np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (2, 3, task.control_dim))
    qpos, qvel = np.tile(env.data.qpos, (2, 1)), np.tile(env.data.qvel, (2, 1))
    commands, wanted = (
        task.controls(qpos, qvel, actions).shape,
        (2, 3 * task.ctrl_rows, env.model.nu),
    )
    yield f"commands {wanted} of actions {actions.shape}", commands == wanted, f"{commands}"
    _, info = env.reset(seed=1)
    start, pose, runs = info["state"], info["pose"], list[np.ndarray]()
    for _ in range(2):
        env.reset(options={"state": start})
        infos = [env.step(a)[-1] for a in actions.reshape(-1, task.control_dim)]
        runs.append(np.stack([info["state"] for info in infos]))
    yield "the same states again after a restore", np.array_equal(runs[0], runs[1]), "others"
    moved = float(np.abs(infos[-1]["pose"] - pose).max())
    yield "actions that move something", moved > 1e-6, "nothing moved"
    for policy in policies(task.name):
        acted = _acts(env, policy)
        yield f"{policy}: float32 [{task.control_dim}] in [-1, 1]", acted == "", acted


def _acts(env: GoalEnv, name: str) -> str:
    _, info = env.reset(seed=2)
    policy = make_policy(env.task.name, name, 0.3)
    policy.reset(np.random.default_rng(0), factors=info["factors"])
    for _ in range(STEPS):
        action = policy.act(info["pose"])
        good = action.shape == (env.task.control_dim,) and action.dtype == np.float32
        if not good or not (np.abs(action) <= 1).all():
            return f"{policy}: {action!r}"
        *_, info = env.step(action)
    return ""


def _goals(env: GoalEnv) -> Iterator[Finding]:
    """Predicates and distance, at the goal and on the way."""
    goal = env.reset(seed=3)[1]["pose"]
    _, info = env.reset(seed=4)
    still = np.repeat(goal[None], 40, axis=0)
    poses = np.stack([info["pose"], *still])
    for family in env.spec.families:
        hits = env.success(family, poses, goal)
        found = f"{family}: {hits.dtype} {hits.shape}"
        yield f"{family}: bool [40]", hits.dtype == bool and hits.shape == (40,), found
    hits = env.success("official", still, goal)
    yield "official: true at the goal", bool(hits.any()), "never true there"
    gaps = env.distance(poses, goal)
    yield "distances [41]", gaps.shape == (41,), f"{gaps.shape}"
    there, away = float(gaps[-1]), float(gaps[0])
    yield "distance 0 at the goal, above elsewhere", abs(there) < 1e-9 < away, f"{there}, {away}"


def _abilities(env: GoalEnv) -> Iterator[Finding]:
    """What the task has in addition does what it says."""
    task, rng = env.task, np.random.default_rng(0)
    if isinstance(task, Posable):
        before = env.reset(seed=5)[1]["pose"]
        env.reset(seed=6)
        task.set_pose(env.data, before)
        gap = float(np.abs(task.pose(env.data.qpos, env.data.qvel) - before).max())
        yield "`put` is the inverse of `pose`", gap < 1e-9, f"off by {gap:g}"
    yield (
        "`reflect` where there is a mirror",
        task.mirror is None or isinstance(task, Reflects),
        ("a mirror without it"),
    )
    if isinstance(task, Reflects):
        before = env.reset(seed=7)[1]["pose"]
        task.reflect(env.data)
        task.reflect(env.data)
        gap = float(np.abs(task.pose(env.data.qpos, env.data.qvel) - before).max())
        yield "`reflect` is its own inverse", gap < 1e-9, f"off by {gap:g}"
    for name, factor in task.factors.items():
        for level in (factor.sample(rng), *factor.held_out):
            _, info = env.reset(seed=8, options={"factors": {name: level}})
            yield f"factor {name} = {level}", info["factors"] == {name: level}, f"{info['factors']}"
