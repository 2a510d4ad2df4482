"""A task that the project does not know: three joints, a tilted camera, oblong pictures.

``installed`` makes it known as a package that is installed beside the project would.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import mujoco
import numpy as np
import pytest

from robot_wm.core.poses import PoseEntry
from sim.policies.base import Policy
from sim.randomization import Factor
from sim.tasks.base import Predicate, Task, hold, shared_factors

JOINTS = ("swivel", "shoulder", "elbow")
NAME, BARE, SIZE = "three_joint_arm", "bare_arm", (48, 64)
SPEED, UPPER, LOWER, HEIGHT = 1.5, 0.14, 0.12, 0.06  # [rad/s], [m], [m], [m]
LOW, HIGH = np.array([-1.2, 0.0, -1.2]), np.array([1.2, 1.0, 1.2])


def tip(joints: np.ndarray) -> np.ndarray:
    """Place of the tip ``[..., 3]`` [m] of (swivel, shoulder, elbow) ``[..., 3]`` [rad]."""
    first, both = joints[..., 1], joints[..., 1] + joints[..., 2]
    out = UPPER * np.cos(first) + LOWER * np.cos(both)
    up = HEIGHT + UPPER * np.sin(first) + LOWER * np.sin(both)
    return np.stack([out * np.cos(joints[..., 0]), out * np.sin(joints[..., 0]), up], -1)


def _official(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return (np.abs(poses[1:, :3] - goal[:3]) < 0.1).all(axis=1)


def _strict(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return hold(np.linalg.norm(poses[1:, 3:6] - goal[3:6], axis=1) < 0.015, 2)


class ThreeJointArm(Task):
    """See the module's docstring. An action is the joints' speeds."""

    name = NAME
    scene = Path(__file__).with_suffix(".xml")
    camera = "tilted"
    view = 0.6
    control_dim = 3
    control_dt = 0.1
    hold_steps = 10
    pose_entries = (
        *(PoseEntry(joint, "rad", "joint") for joint in JOINTS),
        *(PoseEntry(f"tip_{axis}", "m", "position") for axis in "xyz"),
        *(PoseEntry(f"{joint}_speed", "rad/s", "velocity") for joint in JOINTS),
    )
    robot = (0, 1, 2)
    proprio_dim = 6
    factors: ClassVar[Mapping[str, Factor]] = shared_factors()
    predicates: ClassVar[Mapping[str, Predicate]] = {"official": _official, "strict": _strict}
    policies: ClassVar[Mapping[str, str]] = {"expert": f"{__name__}:ArmExpert"}

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Speeds of the joints [rad/s]."""
        return SPEED * gain * actions

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Joints [rad], tip [m], speeds [rad/s]."""
        return np.concatenate([qpos, tip(qpos), qvel], -1)

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Uniform within the limits, at rest."""
        data.qpos[:] = rng.uniform(LOW, HIGH)

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Largest joint error [rad]."""
        return np.abs(poses[..., :3] - goal[:3]).max(-1)


class BareArm(ThreeJointArm):
    """The same with nothing that a task may leave out."""

    name = BARE
    factors: ClassVar[Mapping[str, Factor]] = {}
    predicates: ClassVar[Mapping[str, Predicate]] = {"official": _official}
    policies: ClassVar[Mapping[str, str]] = {}


class ArmExpert(Policy):
    """Straight to the goal's joints."""

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Proportional control; another goal once this one is reached."""
        assert self.goal is not None
        error = self.goal[:3] - pose[:3]
        if np.abs(error).max() < 0.05 and not self._keep:
            self.goal = self._draw_goal()
        return np.clip(6 * error, -1, 1)


class Bold(Policy):
    """Breaks the rules: more than an action may be."""

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Nothing."""
        return np.zeros(3)

    def act(self, pose: np.ndarray) -> np.ndarray:
        """Twice what is allowed."""
        return np.full(3, 2, np.float32)


def installed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the tasks known by entry points, for this process and those that it starts."""
    about = folder / "toy_arm-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-arm\nVersion: 1.0\n")
    entries = f"{NAME} = {__name__}:ThreeJointArm\n{BARE} = {__name__}:BareArm"
    text = f"[robot_wm.tasks]\n{entries}\n[robot_wm.configs]\ntoys = toy_configs\n"
    (about / "entry_points.txt").write_text(text)
    patch.syspath_prepend(str(folder))
