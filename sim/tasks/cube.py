"""Cube: pick a cube and put it somewhere with an arm. OGBench's ``cube-single`` scene. 20 Hz.

An action in [-1, 1]⁵ moves the target of the gripper away from where it is *measured* to be: by up
to 0.05 m along x, y and z, 0.3 rad of yaw, and the whole way of opening (-1) or closing (1). The
gripper points down. Differential inverse kinematics turns the target into commands of the joints'
servos (:mod:`sim.arms.kinematics`). Needs the packages of the extra ``arms``.

As in the package, no action holds this arm still: its servos give way to its weight, and the target
follows what is measured, so that under zero actions the gripper sinks by 1 to 2 mm a control step
until it is at the lowest place. It keeps what it has grasped.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.criteria import Criterion
from robot_wm.core.poses import PoseEntry
from sim.arms import orientation
from sim.arms.decimation import lighten
from sim.arms.kinematics import DRIVER, EXACT, FINGERS, HOME, JOINTS, Arm, fingers, opening
from sim.arms.ur5e import CAMERA, GRIPPER, PURPLE, check_installed, packaged, scene
from sim.randomization import Choice, Factor, Interval, colors
from sim.tasks.abilities import Published
from sim.tasks.base import Predicate, Task, hold, met, shared_factors, turn_about, wrap

REACH = np.array([0.05, 0.05, 0.05, 0.3, 1.0])  # of a full command [m, m, m, rad, closed]
LOW, HIGH = np.array([0.25, -0.35, 0.02]), np.array([0.60, 0.35, 0.35])  # of the target [m]
# Box of the gripper at the start [m]: the package's own. From 15 % of it the gripper's tip is seen
# beyond the left or right edge of the picture, by up to .29 of its width.
START = np.array([0.25, -0.35, 0.20]), HIGH
TABLE = np.array([0.30, -0.30]), np.array([0.55, 0.30])  # box of the cube, and of its goals [m]
FENCES = np.array([0.24, -0.36]), np.array([0.61, 0.36])  # the cube's centre stays within [m]
HALF = 0.02  # of the cube's side [m]
FLOOR = (0.115, 0.145, 0.205)  # mean of the floor's two colours
PINCH, ANGLE, OPENING, CUBE, TURN = slice(0, 3), 3, 4, slice(5, 8), slice(8, 11)  # of a pose
BODY, TOWARDS = slice(14, 17), slice(17, 21)  # the cube's place and quaternion in qpos
PADS = tuple(f"ur5e/robotiq/{side}_pad{n}" for side in ("left", "right") for n in (1, 2))
GRASP = 0.1  # a gripper less closed than that holds nothing
RESTING = 0.025  # a cube lower than that lies on the table [m]
# OGBench's five tasks of ``cube-single``: where the cube starts and where it belongs [m].
PICK_PLACE = (
    ((0.425, 0.1), (0.425, -0.1)),
    ((0.35, 0.0), (0.50, 0.0)),
    ((0.50, 0.0), (0.35, 0.0)),
    ((0.35, -0.2), (0.50, 0.2)),
    ((0.35, 0.2), (0.50, -0.2)),
)
AROUND = 0.01  # of a place at which the cube starts, along each axis [m]


def _place(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., CUBE] - goal[CUBE], axis=-1)


def _orientation(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return orientation.angle(poses[..., TURN], goal[TURN])


OFFICIAL = (Criterion("cube position", "m", 0.04, _place),)
STRICT = (
    Criterion("cube position", "m", 0.03, _place),
    Criterion("cube orientation", "rad", np.deg2rad(15), _orientation),
)


def _official(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return met(OFFICIAL, poses[1:], goal)


def _strict(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return hold(met(STRICT, poses[1:], goal), 3)


def _long(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """There for three steps, and let go or lying on the table."""
    left = (poses[1:, OPENING] < GRASP) | (poses[1:, CUBE.stop - 1] <= RESTING)
    return hold(met(OFFICIAL, poses[1:], goal) & left, 3)


class Cube(Task):
    """See the module's docstring."""

    name = "cube"
    scene = packaged("floor_wall.xml")  # around which the rest is put together
    camera = CAMERA
    view = 0.73  # at the middle of the table
    control_dim = 5
    full_command = (
        *(f"{reach:g} m along {axis}" for reach, axis in zip(REACH[:3], "xyz", strict=True)),
        f"{REACH[ANGLE]:g} rad of yaw",
        "the whole way of closing",
    )
    control_dt = 0.05
    hold_steps = 25
    pose_entries = (
        *(PoseEntry(f"pinch_{axis}", "m", "position") for axis in "xyz"),
        PoseEntry("pinch_angle", "rad", "angle"),
        PoseEntry("pinch_closed", "", "position"),
        *(PoseEntry(f"cube_{axis}", "m", "position") for axis in "xyz"),
        PoseEntry("cube_fourfold_angle", "rad", "angle"),
        PoseEntry("cube_tilt_x", "rad", "joint"),
        PoseEntry("cube_tilt_y", "rad", "joint"),
    )
    robot = (0, 1, 2, 3, 4)
    errand = "pick_place"
    proprio_dim = 14
    factors: ClassVar[Mapping[str, Factor]] = {
        "agent_color": colors(PURPLE, "red", "yellow", "black"),
        "cube_color": colors((0.96, 0.26, 0.33), "blue", "yellow", "green"),
        "canvas_color": colors(FLOOR, "brown", "magenta"),
        # Smaller alone: a larger one stands in the table, and in the fingers that hold it.
        "cube_size": Interval(1.0, 0.9, 1.1, (0.6, 0.75), "size"),
        "camera_pitch": Interval(0.0, -2.0, 2.0, (-10.0, -5.0, 5.0, 10.0)),
        "mass": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        "friction": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        "render": Choice("light", ("light",), ("reference",)),
        **shared_factors(light=True),
    }
    predicates: ClassVar[Mapping[str, Predicate]] = {
        "official": _official,
        "long": _long,
        "moderate": _official,
        "strict": _strict,
    }
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {
        "official": OFFICIAL,
        "long": OFFICIAL,
        "moderate": OFFICIAL,
        "strict": STRICT,
    }
    policies: ClassVar[Mapping[str, str]] = {"expert": "sim.policies.cube:CubeExpert"}
    published = Published(solved=(38.38, 35.83), random=(49.0, 15.7, 6.0), oracle=95.0)

    def check(self) -> None:
        """As every task, once its packages are there.

        Raises:
            ConfigError: they are not; the message says what to install.
        """
        check_installed()
        super().check()

    @cached_property
    def _arm(self) -> Arm:
        return Arm()

    def spec(self) -> mujoco.MjSpec:
        """The unvaried scene; every copy may be changed."""
        return scene()

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Looks, sizes and dynamics; angles of the camera are about the world's z and x axes.

        ``friction`` is that of the gripper's pads, ``mass`` the cube's density, ``render`` the
        package's own meshes and quality (slow) instead of light ones.
        """
        super().vary(spec, {k: v for k, v in factors.items() if k != "camera_yaw"})
        for axis, factor in (((0.0, 0.0, 1.0), "camera_yaw"), ((1.0, 0.0, 0.0), "camera_pitch")):
            turn_about(spec.camera(self.camera), axis, factors.get(factor, 0.0))
        bright = self.factors["light"].nominal
        for light in spec.lights:
            light.diffuse = light.diffuse * factors.get("light", bright) / bright
        if "agent_color" in factors:
            for name in GRIPPER:
                spec.material(name).rgba = [*factors["agent_color"], 1.0]
        if "canvas_color" in factors:
            change, texture = np.divide(factors["canvas_color"], FLOOR), spec.texture("grid")
            texture.rgb1 = np.minimum(texture.rgb1 * change, 1)
            texture.rgb2 = np.minimum(texture.rgb2 * change, 1)
        cube, half = spec.geom("cube/object_0"), HALF * factors.get("cube_size", 1.0)
        cube.size, cube.density = [half] * 3, cube.density * factors.get("mass", 1.0)
        if "cube_color" in factors:
            cube.rgba = [*factors["cube_color"], 1.0]
        for name in PADS:
            pad = spec.geom(name)
            pad.friction = pad.friction * [factors.get("friction", 1.0), 1, 1]
        if factors.get("render", "light") == "light":
            lighten(spec)

    def proprio(self, data: mujoco.MjData) -> np.ndarray:
        """Joints of the arm and of the gripper's motor, then their speeds [rad, rad/s]."""
        felt = [*range(JOINTS.stop), DRIVER]
        return np.concatenate([data.qpos[felt], data.qvel[felt]]).astype(np.float32)

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Angles for the joints' servos [rad], and the gripper's command (0 to 255).

        What is measured after the first of several control steps is not known here: its target
        stands in.
        """
        n, steps, _ = actions.shape
        out, moves = np.empty((n, steps, JOINTS.stop + 1)), gain * REACH * actions
        joints, closed = qpos[:, JOINTS].copy(), opening(qpos)
        for t in range(steps):
            places, yaws = self._arm.pinch(joints)
            targets = np.clip(places + moves[:, t, :3], LOW, HIGH)
            yaws, closed = yaws + moves[:, t, 3], np.clip(closed + moves[:, t, 4], 0, 1)
            for i in range(n):
                joints[i] = self._arm.solve(targets[i], yaws[i], joints[i])
            out[:, t, JOINTS], out[:, t, -1] = joints, 255 * closed
        return out

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Gripper: place, yaw in [0, 2π), how far closed. Cube: place, orientation.

        The orientation is that of a cube whose faces are all the same, see
        :mod:`sim.arms.orientation`.
        """
        place, yaw = self._arm.pinch(qpos[..., JOINTS])
        hand = np.stack([np.mod(yaw, 2 * np.pi), opening(qpos)], -1)
        turn = orientation.fold(orientation.matrices(qpos[..., TOWARDS]))
        return np.concatenate([place, hand, qpos[..., BODY], turn], -1)

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """See :class:`~sim.tasks.abilities.Posable`: the gripper points straight down."""
        data.qpos[JOINTS] = self._arm.solve(pose[PINCH], pose[ANGLE], HOME, EXACT)
        data.qpos[FINGERS] = fingers(float(np.clip(pose[OPENING], 0, 1)))
        data.qpos[BODY] = pose[CUBE]
        turn = np.empty(4)
        mujoco.mju_mat2Quat(turn, orientation.unfold(pose[TURN]).ravel())
        data.qpos[TOWARDS] = turn
        data.qvel[:] = 0

    def at_rest(self, pose: np.ndarray) -> np.ndarray:
        """The cube lies on the table."""
        lying = pose.copy()
        lying[CUBE.stop - 1], lying[TURN.start + 1 : TURN.stop] = HALF, 0.0
        return lying

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """The point between the fingertips, and the cube."""
        return {"gripper": poses[..., PINCH], "cube": poses[..., CUBE]}

    def inside(self, pose: np.ndarray, margin: float = 0.0) -> bool:
        """Whether gripper and cube are where they can get, so far from its edge [m]."""
        low, high = np.append(LOW[:2], FENCES[0]), np.append(HIGH[:2], FENCES[1])
        places = pose[[0, 1, 5, 6]]
        return bool((places > low + margin).all() and (places < high - margin).all())

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Open gripper above the table at any yaw; the cube on it, at any yaw."""
        place, yaw = rng.uniform(*START), rng.uniform(-np.pi, np.pi)
        data.qpos[JOINTS] = self._arm.solve(place, yaw, HOME)
        data.qpos[FINGERS] = fingers(0.0)
        half = data.model.geom("cube/object_0").size[2]
        data.qpos[BODY] = [*rng.uniform(*TABLE), half]
        about = rng.uniform(0, np.pi)
        data.qpos[TOWARDS] = [np.cos(about), 0, 0, np.sin(about)]

    def sample_pair(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`~sim.tasks.abilities.DrawsPairs`: OGBench's five tasks in turn.

        The cube starts near its place at any yaw and belongs straight at the goal's; the open
        gripper is anywhere at both ends.
        """
        start, goal = (np.array(place) for place in PICK_PLACE[number % len(PICK_PLACE)])
        start = start + rng.uniform(-AROUND, AROUND, 2)
        return self._lying(start, rng.uniform(0, 2 * np.pi), rng), self._lying(goal, 0.0, rng)

    def _lying(self, place: np.ndarray, turn: float, rng: np.random.Generator) -> np.ndarray:
        """Pose ``[K]``: cube at a place [m] and fourfold yaw [rad], gripper anywhere."""
        pose = np.zeros(len(self.pose_entries))
        pose[PINCH], pose[ANGLE] = rng.uniform(*START), rng.uniform(0, 2 * np.pi)
        pose[CUBE], pose[TURN.start] = [*place, HALF], turn
        return pose

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Cube's place [m] and angle, then the gripper's place, yaw and opening, at lesser rates.

        An angle counts by half the cube's side, the gripper's place as a tenth.
        """
        gripper = np.linalg.norm(poses[..., PINCH] - goal[PINCH], axis=-1)
        yaw = np.abs(wrap(poses[..., ANGLE] - goal[ANGLE]))
        hand = 0.1 * gripper + 0.002 * yaw + 0.01 * np.abs(poses[..., OPENING] - goal[OPENING])
        return _place(poses, goal) + HALF * _orientation(poses, goal) + hand
