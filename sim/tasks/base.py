"""What a task adds to a scene: how actions drive it, what its pose is, when a goal is reached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.config import unknown
from robot_wm.core.criteria import Criterion
from robot_wm.core.errors import ConfigError
from robot_wm.core.poses import PoseEntry
from robot_wm.core.symmetry import Mirror
from sim.randomization import Choice, Factor, Interval

SCENES = Path(__file__).parent.parent / "scenes"
Predicate = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Confinement:
    """The box in the picture that the robot's target must not leave.

    Attributes:
        joints: entries of ``qpos`` that are the robot's place.
        pose: the same entries in the pose.
        low, high: of the box, in every entry [m].
        reach: how far from the robot a full command sets its target [m].
    """

    joints: tuple[int, ...]
    pose: tuple[int, ...]
    low: float
    high: float
    reach: float


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angle [rad] wrapped to [-π, π)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def hold(ok: np.ndarray, steps: int) -> np.ndarray:
    """True where a condition has held for ``steps`` consecutive control steps, bool ``[T]``."""
    run = np.zeros(len(ok), int)
    for t, value in enumerate(ok):
        run[t] = (run[t - 1] if t else 0) + 1 if value else 0
    return run >= steps


def shared_factors(light: bool = False) -> dict[str, Factor]:
    """Factors that every scene offers.

    ``camera_shift`` is a fraction of the view's width, ``latency`` the number of control steps by
    which the scene (:class:`sim.env.GoalEnv`) executes actions later.
    """
    return {
        "camera_yaw": Interval(0.0, -2.0, 2.0, (-10.0, -5.0, 5.0, 10.0)),
        "camera_shift_x": Interval(0.0, -0.01, 0.01, (-0.06, -0.03, 0.03, 0.06)),
        "camera_shift_y": Interval(0.0, -0.01, 0.01, (-0.06, -0.03, 0.03, 0.06)),
        "light": Interval(0.7, 0.55, 0.85, (0.3, 0.95)) if light
        else Interval(1.0, 0.8, 1.2, (0.5, 1.4)),
        "gain": Interval(1.0, 0.9, 1.1, (0.7, 1.3), "motion"),
        "latency": Choice(0, (0,), (1, 2, 4), "time"),
    }  # fmt: skip


class Task(ABC):
    """One scene with its actions, pose, predicates, factors and policies. Stateless.

    An action is ``control_dim`` numbers in [-1, 1], whose meaning :meth:`controls` knows. Besides
    the attributes without a value below, a task must define ``controls``, ``pose``,
    ``sample_initial_state`` and ``distance``. What it may have in addition, and who asks for it:

    * ``factors``, ``vary``: appearances and dynamics that differ between episodes;
    * ``animate``: scenery that moves; ``sim.tasks.scenery``: factors of flat scenes from above;
    * ``eligible``: families of pairs that not every recorded stretch is good for;
    * ``confinement``: where nothing in the scene keeps the robot's target in the picture;
    * a policy ``expert``: ``method=expert``, the proposals of ``method=oracle``, ``robot-wm teach``
      and ``web-demo``;
    * ``DrawsPairs``: starts and goals of its own for ``pairs.offset=0``;
    * ``mirror`` and ``Reflects``: mirrored collections, planning in the mirror image;
    * ``Posable``: goals that ``robot-wm reach-goal`` is told as a pose, the teacher's corrections;
    * ``Calibrated``, predicates ``moderate`` and ``strict``: ``robot-wm calibrate``;
    * commands linear in state and action, square pictures of the scene's first camera:
      ``robot-wm web-demo``.

    ``robot-wm stress-test`` asks for nothing more, ``robot-wm probe`` for poses that change.
    Abilities in capitals are protocols of :mod:`sim.tasks.abilities`; who lacks one is told by
    name.

    Class attributes:
        name: registry name.
        scene: the MJCF file.
        camera: the scene's camera that takes the pictures.
        view: width that it sees [m], of which camera shifts are fractions.
        control_dim: numbers in one control action.
        full_command: what 1 means in each of them, with its unit; bundles tell their robot.
        control_dt: seconds per control step [s].
        ctrl_rows: actuator commands per control step.
        hold_steps: physics steps per actuator command.
        pose_entries: what the numbers of a pose are.
        robot: entries of the pose that are the robot's own place.
        extent: lowest and highest place [m] in the picture; None where that is no square of them.
        proprio_dim: size of what the robot feels.
        predicates: family name -> function of poses ``[T+1, K]`` and goal ``[K]``; ``official`` is
            asked for where no family is named.
        policies: dotted names of scripted behaviours, by name; ``random`` is every task's.
        criteria: family name -> what its predicate measures, for reports.
        mirror: reflection that leaves the nominal scene and its dynamics as they are, if any.
        confinement: box for the robot's target, where nothing in the scene keeps it in the picture.
    """

    name: ClassVar[str]
    scene: ClassVar[Path]
    camera: ClassVar[str]
    view: ClassVar[float]
    control_dim: ClassVar[int]
    full_command: ClassVar[tuple[str, ...]] = ()
    control_dt: ClassVar[float]
    ctrl_rows: ClassVar[int] = 1
    hold_steps: ClassVar[int]
    pose_entries: ClassVar[tuple[PoseEntry, ...]]
    robot: ClassVar[tuple[int, ...]]
    extent: ClassVar[tuple[float, float] | None] = None
    proprio_dim: ClassVar[int]
    predicates: ClassVar[Mapping[str, Predicate]]
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {}
    factors: ClassVar[Mapping[str, Factor]] = {}
    policies: ClassVar[Mapping[str, str]] = {}
    mirror: ClassVar[Mirror | None] = None
    confinement: ClassVar[Confinement | None] = None

    def check(self) -> None:
        """Refuse a task that lacks what every task must have.

        Raises:
            ConfigError: an attribute without a value, or no such scene or camera in it.
        """
        if missing := [name for name in Task.__annotations__ if not hasattr(self, name)]:
            raise ConfigError(
                f"task {type(self).__name__} without {', '.join(missing)}",
                "a value of every attribute that has none in sim/tasks/base.py", "add them",
            )  # fmt: skip
        if not self.scene.is_file():
            raise ConfigError(f"task {self.name}: no scene {self.scene}", "an MJCF file",
                              "correct `scene`")  # fmt: skip
        cameras = [camera.name for camera in self.spec().cameras]
        if self.camera not in cameras:
            raise unknown(f"camera of task {self.name}:", self.camera, cameras)

    def spec(self) -> mujoco.MjSpec:
        """The unvaried scene, parsed."""
        return mujoco.MjSpec.from_file(str(self.scene))

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Apply the factors of :func:`shared_factors`; subclasses add their own."""
        shift = factors.get("camera_shift_x", 0.0), factors.get("camera_shift_y", 0.0)
        turn_camera(spec, self.camera, factors.get("camera_yaw", 0.0), np.array(shift) * self.view)
        if "light" in self.factors:
            light = self.factors["light"]
            gain = factors.get("light", light.nominal) / light.nominal
            head = spec.visual.headlight
            head.ambient, head.diffuse = head.ambient * gain, head.diffuse * gain

    def compile(self, factors: Mapping[str, Any]) -> mujoco.MjModel:
        """Model of the scene under these factors."""
        spec = self.spec()
        self.vary(spec, factors)
        return spec.compile()

    def animate(self, model: mujoco.MjModel, time: float) -> None:  # noqa: B027  (most stand still)
        """Move what is scenery alone to where it is at ``time`` [s], before a picture is drawn."""

    def proprio(self, data: mujoco.MjData) -> np.ndarray:
        """What the robot feels of itself, float32 ``[P]`` in SI units: joints and speeds."""
        return np.concatenate([data.qpos, data.qvel]).astype(np.float32)

    @abstractmethod
    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Actuator commands of action sequences.

        Args:
            qpos, qvel: joint state at the start, ``[N, nq]`` and ``[N, nv]``.
            actions: ``[N, T, A]`` in [-1, 1].
            gain: multiplier of the command's effect.

        Returns:
            ``[N, T * ctrl_rows, nu]``, each row held for ``hold_steps`` physics steps.
        """

    @abstractmethod
    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Privileged pose ``[..., K]`` of joint states ``[..., nq]``, ``[..., nv]``."""

    @abstractmethod
    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Draw an initial state into ``data`` (velocities zero)."""

    @abstractmethod
    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Privileged, smooth distance to the goal ``[...]``, 0 at the goal: oracle and scoring."""

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """World points ``[..., 3]`` [m] of poses ``[..., K]`` to follow in pictures, by name.

        The robot's own comes first; a scene without any has no paths in its reports.
        """
        return {}

    def clip_to_workspace(self, pose: np.ndarray, action: np.ndarray) -> np.ndarray:
        """An action, changed if its target lies outside the picture.

        For behaviours that make data, and for whatever drives the scene's robot.

        Args:
            pose: of the scene ``[K]``.
            action: ``[A]`` in [-1, 1].
        """
        box = self.confinement
        if box is None:
            return action
        place = pose[list(box.pose)]
        target = np.clip(place + box.reach * action, box.low, box.high)
        return np.clip((target - place) / box.reach, -1, 1)

    def eligible(self, poses: np.ndarray, family: str) -> bool:
        """Whether a recorded stretch ``[T+1, K]`` may serve as a pair of a family but official."""
        return True

    def at_rest(self, pose: np.ndarray) -> np.ndarray:
        """A pose ``[K]`` like a made-up one, in which nothing falls."""
        return pose

    def inside(self, pose: np.ndarray, margin: float = 0.0) -> bool:
        """Whether every place of a pose lies in the picture, so far from its edge [m]."""
        low, high = self.extent or (-np.inf, np.inf)
        places = [v for e, v in zip(self.pose_entries, pose, strict=True) if e.unit == "m"]
        return all(low + margin < value < high - margin for value in places)


def turn_about(camera: Any, axis: tuple[float, float, float], angle: float) -> None:
    """Turn a camera [deg] about an axis of the world through where it is.

    Args:
        camera: of an ``MjSpec``, its orientation given as a quaternion.
    """
    radians, turned = np.deg2rad(angle), np.empty(4)
    about = np.append(np.cos(radians / 2), np.sin(radians / 2) * np.array(axis))
    mujoco.mju_mulQuat(turned, about, camera.quat)
    camera.quat = turned


def turn_camera(spec: mujoco.MjSpec, name: str, yaw: float, shift: np.ndarray) -> None:
    """Turn a camera about its optical axis [deg], then shift it in its picture's plane ``[2]`` [m].

    Args:
        name: of the camera, however tilted.
    """
    camera, compiler, radians = spec.camera(name), spec.compiler, np.deg2rad(yaw)
    if camera.alt.type != mujoco.mjtOrientation.mjORIENTATION_QUAT:  # xyaxes, euler and the like
        camera.quat = spec.resolve_orientation(
            degree=compiler.degree, sequence=compiler.eulerseq, orientation=camera.alt
        )
        camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    upright, turned, axes = camera.quat.copy(), np.empty(4), np.empty(9)
    mujoco.mju_quat2Mat(axes, upright / np.linalg.norm(upright))
    camera.pos = camera.pos + axes.reshape(3, 3) @ np.append(shift, 0.0)
    about = np.array([np.cos(radians / 2), 0.0, 0.0, np.sin(radians / 2)])
    mujoco.mju_mulQuat(turned, upright, about)
    camera.quat = turned


def met(criteria: tuple[Criterion, ...], poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Where all criteria hold: bool ``[T]`` of poses ``[T, K]`` and a goal ``[K]``."""
    held = [criterion.error(poses, goal) < criterion.limit for criterion in criteria]
    return np.logical_and.reduce(held)


def on_plane(points: np.ndarray, height: float = 0.0) -> np.ndarray:
    """Points ``[..., 2]`` of a horizontal plane as world points ``[..., 3]`` [m]."""
    return np.concatenate([points, np.full((*points.shape[:-1], 1), height)], -1)


def color_geoms(spec: mujoco.MjSpec, names: tuple[str, ...], rgb: tuple[float, ...]) -> None:
    """Recolour geoms, keeping their transparency."""
    for name in names:
        geom = spec.geom(name)
        geom.rgba = [*rgb, geom.rgba[3]]
