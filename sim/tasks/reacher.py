"""Reacher with ``qpos_match``: bring a two-link arm to a joint configuration. 25 Hz, torques."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.criteria import Criterion
from robot_wm.core.poses import PoseEntry
from robot_wm.core.symmetry import Mirror
from sim.randomization import Factor, Interval, colors
from sim.tasks.abilities import Published
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
from sim.tasks.scenery import animate_scenery, apply_scenery, scenery_factors

LINK = 0.12  # both links [m]
VIEW = 0.62  # width of the picture at the arm [m]
FLOOR = 0.001  # height of what lies about [m]


def fingertip(joints: np.ndarray) -> np.ndarray:
    """Fingertip position ``[..., 2]`` [m] of (shoulder, wrist) ``[..., 2]`` [rad]."""
    first, both = joints[..., 0], joints[..., 0] + joints[..., 1]
    return LINK * np.stack([np.cos(first) + np.cos(both), np.sin(first) + np.sin(both)], -1)


def _shoulder(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Not wrapped, as in the reference."""
    return np.abs(poses[..., 0] - goal[0])


def _turned(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.abs(wrap(poses[..., 0] - goal[0]))


def _wrist(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.abs(poses[..., 1] - goal[1])


def _tip(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(fingertip(poses) - fingertip(goal), axis=-1)


WRIST = Criterion("wrist angle", "rad", 0.05, _wrist)
OFFICIAL = (Criterion("shoulder angle", "rad", 0.05, _shoulder), WRIST)
MODERATE = (Criterion("shoulder angle", "rad", 0.05, _turned), WRIST)
STRICT = (Criterion("fingertip position", "m", 0.01, _tip),)


def _official(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return met(OFFICIAL, poses[1:], goal)


def _moderate(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return met(MODERATE, poses[1:], goal)


def _strict(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return hold(_tip(poses[1:], goal) <= STRICT[0].limit, 2)


class Reacher(Task):
    """See the module's docstring."""

    name = "reacher"
    scene = SCENES / "reacher.xml"
    camera = "top"
    control_dim = 2
    full_command = ("0.05 N·m at the shoulder", "0.05 N·m at the wrist")
    control_dt = 0.04
    hold_steps = 2
    pose_entries = (
        PoseEntry("shoulder", "rad", "joint"),
        PoseEntry("wrist", "rad", "joint"),
        PoseEntry("shoulder_speed", "rad/s", "velocity"),
        PoseEntry("wrist_speed", "rad/s", "velocity"),
    )
    robot = (0, 1)
    proprio_dim = 4
    view = VIEW
    # The diagonal x = -y: the floor's pattern is the same on both sides.
    mirror = Mirror("transpose", (0, 1), (-1.0, -1.0))
    factors: ClassVar[Mapping[str, Factor]] = {
        "agent_color": colors((0.7, 0.5, 0.3), "blue", "green", "magenta"),
        "canvas_color": colors((0.15, 0.25, 0.35), "brown", "magenta"),
        "mass": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        "friction": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        **shared_factors(light=True),
        **scenery_factors("grid"),
    }
    predicates: ClassVar[Mapping[str, Predicate]] = {
        "official": _official,
        "long": _official,
        "moderate": _moderate,
        "strict": _strict,
    }
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {
        "official": OFFICIAL,
        "long": OFFICIAL,
        "moderate": MODERATE,
        "strict": STRICT,
    }
    policies: ClassVar[Mapping[str, str]] = {"expert": "sim.policies.reacher:ReacherExpert"}
    published = Published(solved=(0.57, 2.24), random=(13.0, 7.3, 8.0), oracle=98.0)

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Colours; ``mass`` scales the links' density, ``friction`` the joints' damping."""
        super().vary(spec, factors)
        if "agent_color" in factors:
            color_geoms(spec, ("arm", "hand", "finger"), factors["agent_color"])
        if "canvas_color" in factors:
            dark = np.asarray(factors["canvas_color"])
            texture = spec.texture("grid")
            texture.rgb1, texture.rgb2 = dark * 0.8, np.minimum(dark * 1.2, 1)
            texture.markrgb = texture.rgb2
        floor = factors.get("canvas_color", self.factors["canvas_color"].nominal)
        apply_scenery(spec, self.camera, VIEW, np.zeros(2), FLOOR, floor, "grid", factors)
        for name in ("arm", "hand", "finger"):
            geom = spec.geom(name)
            geom.density = geom.density * factors.get("mass", 1.0)
        for name in ("shoulder", "wrist"):
            joint = spec.joint(name)
            joint.damping = joint.damping * factors.get("friction", 1.0)

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Torques as fractions of the actuators' range."""
        return gain * actions

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """(shoulder, wrist) [rad] and their speeds [rad/s]; the shoulder is not wrapped."""
        return np.concatenate([qpos, qvel], -1)

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """The fingertip, at the height of the arm."""
        return {"fingertip": on_plane(fingertip(poses), 0.01)}

    def animate(self, model: mujoco.MjModel, time: float) -> None:
        """Clutter that moves."""
        animate_scenery(model, VIEW, 0.0, time)

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """See :class:`~sim.tasks.abilities.Posable`: the pose begins with the joints."""
        data.qpos[:] = pose[: len(data.qpos)]
        data.qvel[:] = 0

    def reflect(self, data: mujoco.MjData) -> None:
        """Both joints turn the other way."""
        data.qpos[:] = -data.qpos
        data.qpos[0] -= np.pi / 2
        for rates in (data.qvel, data.qacc_warmstart, data.ctrl):
            rates[:] = -rates

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Uniform shoulder, wrist within its limits, at rest."""
        limit = np.deg2rad(160)
        data.qpos[:] = [rng.uniform(-np.pi, np.pi), rng.uniform(-limit, limit)]

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Largest joint error [rad]."""
        return np.abs(poses[..., :2] - goal[:2]).max(-1)
