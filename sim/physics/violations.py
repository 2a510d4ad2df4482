"""What can be made impossible in a task's own scene, by category.

Bodies, robot and objects are read off the pose's entries, colours and shapes off the factors; no
task is known by name. What needs an object is done to the robot where a task has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from sim.env import GoalEnv
from sim.physics.clips import Category, Edit, Take, placed
from sim.projection import project
from sim.randomization import Choice, Color
from sim.tasks.abilities import Posable, able

FAR = 0.06  # of the view's width: what counts as a visible displacement
DRIFT = 0.08  # of the view's width per frame: an untouched body on its way
HALF = 5 / 64  # of the picture: half a panel's side


def bodies(env: GoalEnv) -> dict[str, list[int]]:
    """Entries of the pose that are a place in the plane [m], by body; the robot's first."""
    found: dict[str, list[int]] = {}
    for i, entry in enumerate(env.task.pose_entries):
        if entry.kind == "position" and entry.unit == "m":
            found.setdefault(entry.body, []).append(i)
    robot = env.task.robot
    return dict(sorted(found.items(), key=lambda item: not set(item[1]) & set(robot)))


def entries(env: GoalEnv) -> tuple[list[int], list[int]]:
    """Places of the robot, and of what it moves (its own where there is nothing else)."""
    found = list(bodies(env).values())
    return (found[0], found[-1]) if found else ([], [])


def far(env: GoalEnv) -> float:
    """A visible displacement [m]."""
    return FAR * env.task.view


def way(poses: np.ndarray, entry: list[int], first: int) -> np.ndarray:
    """Displacement ``[2]`` of a body up to frame ``first``, from the one before."""
    return np.asarray((poses[first] - poses[first - 1])[entry])


def shift(env: GoalEnv, entry: list[int], by: np.ndarray) -> None:
    """Move a body ``[2]`` [m]; speeds stay."""
    speeds, pose = env.data.qvel.copy(), env.task.pose(env.data.qpos, env.data.qvel).copy()
    pose[entry] += by
    able(env.task, Posable, "a body elsewhere").set_pose(env.data, pose)
    env.data.qvel[:] = speeds
    placed(env)


def turned(vector: np.ndarray, angle: float) -> np.ndarray:
    """Vectors ``[..., 2]`` turned [rad]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(vector @ np.array([[c, s], [-s, c]]))


def disjoint(env: GoalEnv) -> bool:
    """Whether no two bodies overlap now."""
    return bool((env.data.contact.dist > -2e-3 * env.task.view / 0.5).all())


def continuity(env: GoalEnv, take: Take, rng: np.random.Generator) -> Edit | None:
    """What is pushed appears elsewhere than where the push took it, as far away."""
    _, moved = entries(env)
    step = way(take.poses, moved, take.first) if moved else np.zeros(2)
    if np.linalg.norm(step) < far(env):
        return None
    angle = rng.choice([-1.0, 1.0]) * rng.uniform(np.pi / 2, np.pi)
    jump = rng.uniform(0.8, 1.2) * turned(step, angle) - step
    free: list[bool] = []

    def once(scene: GoalEnv) -> None:
        shift(scene, moved, jump)
        free.append(disjoint(scene))

    return Edit(once=once, valid=lambda possible, impossible: free[-1])


def inertia(env: GoalEnv, take: Take, rng: np.random.Generator) -> Edit | None:
    """The robot turns off its way by a right angle, of itself."""
    robot, _ = entries(env)
    if not robot or np.linalg.norm(way(take.poses, robot, take.first)) < far(env):
        return None
    quarter = float(rng.choice([-1.0, 1.0])) * np.pi / 2
    return Edit(commands=lambda told: turned(told, quarter))


def solidity(env: GoalEnv, take: Take, rng: np.random.Generator) -> Edit | None:
    """Bodies pass through each other."""
    robot, moved = entries(env)
    if moved != robot and np.linalg.norm(way(take.poses, moved, take.first)) < far(env) / 2:
        return None

    def begin(scene: GoalEnv) -> None:
        scene.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
        # Seen from above, the robot is over what it passes through.
        for geom in robot_geoms(scene.model):
            scene.model.geom_pos[geom, 2] += 1e-3

    def valid(possible: np.ndarray, impossible: np.ndarray) -> bool:
        places = [i for entry in bodies(env).values() for i in entry]
        gap = np.abs(possible - impossible)[take.first, places]
        return bool(gap.max() > far(env) / 2)

    return Edit(begin=begin, valid=valid)


def immutability(env: GoalEnv, take: Take, rng: np.random.Generator) -> Edit | None:
    """A body changes its colour or its shape."""
    names = {"agent", *(entry.body for entry in env.task.pose_entries)}
    known = {
        name: factor
        for name, factor in env.task.factors.items()
        if name.rpartition("_")[0] in names and isinstance(factor, Color | Choice)
    }
    if not known:
        return None
    name = str(rng.choice(sorted(known)))
    factor = known[name]
    values = (
        factor.held_out if isinstance(factor, Color)
        else tuple(v for v in (*factor.train, *factor.held_out) if v != factor.nominal)
    )  # fmt: skip
    value = values[int(rng.integers(len(values)))]
    free: list[bool] = []

    def once(scene: GoalEnv) -> None:
        scene.reset(options={"state": scene.state(), "factors": {**scene.factors, name: value}})
        free.append(disjoint(scene))

    return Edit(once=once, valid=lambda possible, impossible: free[-1])


def causality(env: GoalEnv, take: Take, rng: np.random.Generator) -> Edit | None:
    """What nothing touches moves; or nothing moves although the robot is told to."""
    robot, moved = entries(env)
    if not robot:
        return None
    if not take.more:
        going = np.linalg.norm(way(take.poses, robot, take.first)) >= far(env)
        return Edit(commands=np.zeros_like) if going else None
    if moved == robot:
        return None
    rest = take.poses[take.first - 2 :, moved]
    if np.linalg.norm(rest - rest[0], axis=1).max() > far(env) / 30:
        return None
    velocity = turned(np.array([DRIFT * env.task.view, 0.0]), rng.uniform(0, 2 * np.pi))
    free: list[bool] = []

    def change(scene: GoalEnv) -> None:
        shift(scene, moved, velocity)
        free.append(disjoint(scene))

    return Edit(change=change, valid=lambda possible, impossible: all(free))


def permanence(env: GoalEnv, take: Take, rng: np.random.Generator) -> Edit | None:
    """The robot goes behind a panel and never comes out."""
    robot, _ = entries(env)
    places = env.task.landmarks(take.poses)
    if not robot or not places:
        return None
    size = np.array(env.spec.image_size) * np.ones(2)
    seen = project(env.model, env.data, env.task.camera, next(iter(places.values())),
                   float(size[1] / size[0]))  # fmt: skip
    behind = take.first - 1
    off = np.abs(seen - seen[behind]).max(axis=1)
    if off[take.first] < 2 * HALF or off[behind - 1] < 2 * HALF:
        return None
    (x, y), half = seen[behind] * size[::-1], HALF * size
    rows, columns = (
        slice(max(0, round(at - side)), round(at + side))
        for at, side in zip((y, x), half, strict=True)
    )

    def begin(scene: GoalEnv) -> None:
        scene.model.geom_rgba[robot_geoms(scene.model), 3] = 0
        scene.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT

    return Edit(begin=begin, panel=(rows, columns))


def robot_geoms(model: mujoco.MjModel) -> np.ndarray:
    """Geoms of the bodies that actuators move, ``[G]``."""
    driven = {int(model.jnt_bodyid[joint]) for joint in model.actuator_trnid[:, 0]}
    return np.flatnonzero(np.isin(model.geom_bodyid, list(driven)))


CATEGORIES: Mapping[str, Category] = {
    "continuity": Category(continuity),
    "solidity": Category(solidity, balanced=False),
    "inertia": Category(inertia),
    "immutability": Category(immutability),
    "causality": Category(causality),
    "permanence": Category(permanence, balanced=False),
}
