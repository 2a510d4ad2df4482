"""Jaco: reach a place with the hand of a six-joint arm, or push a brick on the table with it.

Kinova's Jaco as dm_control brings it, on its place in ``dm_control.manipulation``. Control at
10 Hz. An action is the hand's speed, at most 0.1 m/s along an axis, three numbers for reaching and
two for pushing, where the hand stays at one height; the hand points down. Every control step turns
the measured joints towards the place 0.1 s ahead, which never leaves the hand's box, by
differential inverse kinematics, within the speeds that the joints' servos allow.

Predicates (the hand's place is that between its fingers; ``long``, of jaco_push, is official):

=============  ==================================  ===============================================
family         ``jaco_reach``                      ``jaco_push``
=============  ==================================  ===============================================
``official``   hand within 30 mm                   brick within 30 mm, hand within 50 mm
``moderate``   hand within 20 mm                   as official, brick within 20 mm
``strict``     hand within 15 mm, held 2 steps     brick within 20 mm and 15°, held 3 steps, hand
                                                   anywhere
=============  ==================================  ===============================================
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.criteria import Criterion
from robot_wm.core.poses import PoseEntry
from sim.arms.jaco import SPEEDS, kinematics, mount
from sim.randomization import Factor, Interval, colors
from sim.tasks.base import (
    SCENES,
    Predicate,
    Task,
    color_geoms,
    hold,
    met,
    on_plane,
    shared_factors,
    wrap,
)

STEP = 0.01  # of the hand under a full command, along an axis [m]
UPRIGHT = 0.5  # share of the hand's tilt that one control step takes away
# Box of the hand [m]; below it the fingers touch the table, beyond it the arm is stretched.
LOW, HIGH = np.array([-0.20, -0.20, 0.055]), np.array([0.20, 0.14, 0.28])
PUSHING = 0.055  # height of the hand that pushes [m]
LYING = 0.025  # height of the brick's centre [m]
BRICK_BOX = (-0.10, -0.09), (0.10, 0.03)  # corners of where it starts [m]
CLEAR = 0.11  # between hand and brick at the start [m]
GYRATION = 0.03  # of the brick about its centre [m]
FACTORS: Mapping[str, Factor] = {
    "agent_color": colors((0.1, 0.1, 0.1), "red", "yellow", "blue"),
    "table_color": colors((0.40, 0.58, 0.55), "magenta", "brown", "yellow"),
    **shared_factors(light=True),
}


def _reached(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., :3] - goal[:3], axis=-1)


def _hand(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., :2] - goal[:2], axis=-1)


def _brick(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., 2:4] - goal[2:4], axis=-1)


def _turn(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.abs(wrap(poses[..., 4] - goal[4]))


def _predicate(criteria: tuple[Criterion, ...], steps: int) -> Predicate:
    return lambda poses, goal: hold(met(criteria, poses[1:], goal), steps)


class Jaco(Task):
    """What both tasks share: the arm, its actions, its place in the picture."""

    scene = SCENES / "jaco.xml"
    camera = "front"
    view = 0.68
    control_dt = 0.1
    hold_steps = 25
    proprio_dim = 12

    @abstractmethod
    def sample_pose(self, rng: np.random.Generator) -> np.ndarray:
        """A pose ``[K]`` at which an episode may begin."""

    @abstractmethod
    def place(self, pose: np.ndarray) -> np.ndarray:
        """Place of the hand ``[..., 3]`` [m] in poses ``[..., K]``."""

    def ahead(self, place: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Place ``[3]`` [m] to which an action ``[A]`` sends a hand within one control step."""
        return np.clip(place + STEP * action, LOW, HIGH)

    def spec(self) -> mujoco.MjSpec:
        """The table with the arm."""
        spec = super().spec()
        mount(spec)
        return spec

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Colours of the table and of the arm's dark parts."""
        super().vary(spec, factors)
        if "table_color" in factors:
            color_geoms(spec, ("table",), factors["table_color"])
        if "agent_color" in factors:
            for name in ("arm/dark_gray", "hand/dark_gray"):
                spec.material(name).rgba = [*factors["agent_color"], 1.0]

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Speeds of the joints [rad/s]; after the first action, as if it had been obeyed."""
        arm, commands = kinematics(), np.empty((*actions.shape[:2], len(SPEEDS)))
        for n, joints in enumerate(qpos[:, -len(SPEEDS) :]):
            for t, action in enumerate(actions[n]):
                place = self.ahead(arm.place(joints), action)
                speeds = gain * arm.step(joints, place, UPRIGHT) / self.control_dt
                commands[n, t] = speeds / max(1.0, float(np.abs(speeds / SPEEDS).max()))
                joints = joints + commands[n, t] * self.control_dt
        return commands

    def proprio(self, data: mujoco.MjData) -> np.ndarray:
        """The arm's joints [rad] and their speeds [rad/s]."""
        size = len(SPEEDS)
        return np.concatenate([data.qpos[-size:], data.qvel[-size:]]).astype(np.float32)

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """See :class:`~sim.tasks.abilities.Posable`; a hand out of its box comes to the edge."""
        place = np.clip(self.place(pose), LOW, HIGH)
        data.qpos[-len(SPEEDS) :] = kinematics().solve(place)
        data.qvel[:] = 0

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """A drawn pose, at rest."""
        self.set_pose(data, self.sample_pose(rng))

    def inside(self, pose: np.ndarray, margin: float = 0.0) -> bool:
        """Whether the hand is in its box, so far from its edge [m], up to what it overshoots."""
        place, over = self.place(pose), margin - STEP / 2
        return bool(
            ((place[:2] >= LOW[:2] + over) & (place[:2] <= HIGH[:2] - over)).all()
            and LOW[2] - STEP / 2 <= place[2] <= HIGH[2] + STEP / 2
        )

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """The hand."""
        return {"hand": self.place(poses)}


class JacoReach(Jaco):
    """Bring the hand to a place above the table."""

    name = "jaco_reach"
    control_dim = 3
    full_command = tuple(f"{STEP:g} m along {axis}" for axis in "xyz")
    pose_entries = tuple(PoseEntry(f"hand_{axis}", "m", "position") for axis in "xyz")
    robot = (0, 1, 2)
    factors: ClassVar[Mapping[str, Factor]] = FACTORS
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {
        "official": (Criterion("hand position", "m", 0.030, _reached),),
        "moderate": (Criterion("hand position", "m", 0.020, _reached),),
        "strict": (Criterion("hand position", "m", 0.015, _reached),),
    }
    predicates: ClassVar[Mapping[str, Predicate]] = {
        "official": _predicate(criteria["official"], 1),
        "moderate": _predicate(criteria["moderate"], 1),
        "strict": _predicate(criteria["strict"], 2),
    }
    policies: ClassVar[Mapping[str, str]] = {"expert": "sim.policies.jaco:JacoReachExpert"}

    def spec(self) -> mujoco.MjSpec:
        """Without the brick."""
        spec = super().spec()
        spec.delete(spec.body("brick"))
        return spec

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Place of the hand [m]."""
        return kinematics().place(qpos)

    def place(self, pose: np.ndarray) -> np.ndarray:
        """The pose itself."""
        return pose

    def sample_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Uniform in the hand's box."""
        return rng.uniform(LOW, HIGH)

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Between the hands [m]."""
        return _reached(poses, goal)


class JacoPush(Jaco):
    """Push a brick to a place with the closed hand. The pale end of the brick tells its angle."""

    name = "jaco_push"
    control_dim = 2
    full_command = tuple(f"{STEP:g} m along {axis}" for axis in "xy")
    pose_entries = (
        PoseEntry("hand_x", "m", "position"),
        PoseEntry("hand_y", "m", "position"),
        PoseEntry("brick_x", "m", "position"),
        PoseEntry("brick_y", "m", "position"),
        PoseEntry("brick_angle", "rad", "angle"),
    )
    robot = (0, 1)
    factors: ClassVar[Mapping[str, Factor]] = {
        "brick_color": colors((0.85, 0.25, 0.20), "blue", "green", "yellow"),
        "brick_size": Interval(1.0, 0.9, 1.1, (0.75, 1.3), "size"),
        "mass": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        "friction": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        **FACTORS,
    }
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {
        "official": (
            Criterion("brick position", "m", 0.030, _brick),
            Criterion("hand position", "m", 0.050, _hand),
        ),
        "moderate": (
            Criterion("brick position", "m", 0.020, _brick),
            Criterion("hand position", "m", 0.050, _hand),
        ),
        "strict": (
            Criterion("brick position", "m", 0.020, _brick),
            Criterion("brick angle", "rad", np.deg2rad(15), _turn),
        ),
    }
    predicates: ClassVar[Mapping[str, Predicate]] = {
        "official": _predicate(criteria["official"], 1),
        "long": _predicate(criteria["official"], 1),
        "moderate": _predicate(criteria["moderate"], 1),
        "strict": _predicate(criteria["strict"], 3),
    }
    policies: ClassVar[Mapping[str, str]] = {
        "expert": "sim.policies.jaco:JacoPushExpert",
        "weak": "sim.policies.jaco:JacoPushWeak",
    }

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """The brick's colour, length and width, mass; ``friction`` of brick and table."""
        super().vary(spec, factors)
        if "brick_color" in factors:
            color_geoms(spec, ("brick",), factors["brick_color"])
        size, friction = factors.get("brick_size", 1.0), factors.get("friction", 1.0)
        for name in ("brick", "end"):  # as high as ever: a state fits bricks of every size
            geom = spec.geom(name)
            geom.size = geom.size * [size, size, 1.0]
            geom.pos = geom.pos * [size, size, 1.0]
        spec.geom("brick").mass *= factors.get("mass", 1.0)
        for name in ("brick", "table"):
            spec.geom(name).friction = spec.geom(name).friction * [friction, 1.0, 1.0]

    def ahead(self, place: np.ndarray, action: np.ndarray) -> np.ndarray:
        """At the height at which it pushes."""
        return super().ahead(np.append(place[:2], PUSHING), np.append(action, 0.0))

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """(hand xy, brick xy [m], brick angle [rad] in [0, 2π))."""
        hand = kinematics().place(qpos[..., -len(SPEEDS) :])
        w, x, y, z = np.moveaxis(qpos[..., 3:7], -1, 0)
        angle = np.mod(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)), 2 * np.pi)
        return np.concatenate([hand[..., :2], qpos[..., :2], angle[..., None]], -1)

    def place(self, pose: np.ndarray) -> np.ndarray:
        """Always at the height at which it pushes."""
        return on_plane(pose[..., :2], PUSHING)

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """The brick lies on the table."""
        super().set_pose(data, pose)
        half = pose[4] / 2
        data.qpos[:7] = [pose[2], pose[3], LYING, np.cos(half), 0.0, 0.0, np.sin(half)]

    def sample_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Brick where the hand gets all around it, any angle; hand anywhere else."""
        brick, angle = rng.uniform(*BRICK_BOX), rng.uniform(0, 2 * np.pi)
        while True:
            hand = rng.uniform(LOW[:2], HIGH[:2])
            if np.linalg.norm(hand - brick) > CLEAR:
                return np.array([*hand, *brick, angle])

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """The hand, then the brick."""
        return {**super().landmarks(poses), "brick": on_plane(poses[..., 2:4], LYING)}

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Brick and hand position [m] plus brick angle times its gyration radius."""
        turned = GYRATION * _turn(poses, goal)
        return _brick(poses, goal) + turned + 0.3 * _hand(poses, goal)
