"""Kinova's Jaco arm, its hand closed, from the files that dm_control brings: model and kinematics.

Masses, armatures, friction, speed servos and their limits are those of dm_control's ``JacoArm``.
Three things are ours: the arm carries its own weight, as the real one's controller makes it; its
fingers are fixed where they are closed; its hand points down and is never turned.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError

JOINTS = tuple(f"arm/joint_{i}" for i in range(1, 7))
SPEEDS = np.deg2rad([36.0, 36.0, 36.0, 48.0, 48.0, 48.0])  # limits [rad/s]
TORQUES = (30.5, 30.5, 30.5, 6.8, 6.8, 6.8)  # limits [N·m]
SERVO = 500.0  # [N·m·s/rad]
BASE = (0.0, 0.4, 0.0)  # of the arm, as in dm_control.manipulation [m]
CLOSED = 1.35  # of the fingers' joints, their limit [rad]
HOME = np.array([1.39, 2.61, 4.83, 2.85, 1.08, -0.47])  # near (0, -0.05, 0.2) [rad]
DOWN = np.diag([1.0, -1.0, -1.0])  # orientation of the hand
DAMPING = 1e-6  # of the inverse kinematics [m²]
LEAP, ITERATIONS = 0.3, 20  # most that one of its iterations turns a joint [rad], and their number


def mount(spec: mujoco.MjSpec) -> None:
    """Put arm and hand into a scene.

    Raises:
        ConfigError: dm_control, which holds their files, is not installed.
    """
    found = find_spec("dm_control")
    if found is None or found.origin is None:
        raise ConfigError("no dm_control, which holds the Jaco arm", "the extra `sim`",
                          "pip install 'robot_wm[sim]'")  # fmt: skip
    files = Path(found.origin).parent / "third_party" / "kinova"
    spec.worldbody.add_site(name="mount", pos=BASE, group=4)
    for name, prefix, place in (
        ("jaco_arm.xml", "arm/", "mount"), ("jaco_hand.xml", "hand/", "arm/wristsite"),
    ):  # fmt: skip
        part = mujoco.MjSpec.from_file(str(files / name))
        for body in part.bodies:
            body.gravcomp = 1.0
        spec.attach(part, prefix=prefix, site=spec.site(place))
    turn = np.array([np.cos(CLOSED / 2), 0.0, 0.0, np.sin(CLOSED / 2)])
    for i in (1, 2, 3):
        joint, closed = spec.joint(f"hand/finger_{i}"), np.empty(4)
        mujoco.mju_mulQuat(closed, joint.parent.quat, turn)
        joint.parent.quat = closed
        spec.delete(joint)
    for name, speed, torque in zip(JOINTS, SPEEDS, TORQUES, strict=True):
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_velocity(kv=SERVO)
        servo.ctrllimited = servo.forcelimited = True
        servo.ctrlrange, servo.forcerange = (-speed, speed), (-torque, torque)


class Kinematics:
    """Where the hand is, and the joints that bring it somewhere."""

    def __init__(self) -> None:
        spec = mujoco.MjSpec()
        mount(spec)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._hand = self._model.site("hand/gripsite").id
        self._jacobian = np.empty((6, 6))

    def _set(self, joints: np.ndarray) -> None:
        self._data.qpos[:] = joints
        mujoco.mj_kinematics(self._model, self._data)

    def place(self, joints: np.ndarray) -> np.ndarray:
        """Place of the hand ``[..., 3]`` [m] of joints ``[..., 6]`` [rad]: between its fingers."""
        places = np.empty((*joints.shape[:-1], 3))
        for index in np.ndindex(joints.shape[:-1]):
            self._set(joints[index])
            places[index] = self._data.site_xpos[self._hand]
        return places

    def tilt(self, joints: np.ndarray) -> float:
        """Angle [rad] by which the hand is turned away from where it should point."""
        self._set(joints)
        return float(np.linalg.norm(self._error(np.zeros(3))[3:]))

    def step(self, joints: np.ndarray, place: np.ndarray, upright: float = 1.0) -> np.ndarray:
        """Turn ``[6]`` [rad] of the joints that brings the hand nearer to a place ``[3]`` [m].

        One step of damped least squares (Nakamura and Hanafusa 1986, eq. 12).

        Args:
            upright: share of the hand's tilt that the step takes away.
        """
        self._set(joints)
        jacobian, error = self._jacobian, self._error(place)
        error[3:] *= upright
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, jacobian[:3], jacobian[3:], self._hand)
        square = jacobian @ jacobian.T + DAMPING * np.eye(6)
        return np.asarray(jacobian.T @ np.linalg.solve(square, error))

    def solve(self, place: np.ndarray) -> np.ndarray:
        """The joints ``[6]`` [rad] whose hand is at a place ``[3]`` [m] and points down."""
        joints = HOME.copy()
        for _ in range(ITERATIONS):
            turn = self.step(joints, place)
            joints += turn * min(1.0, LEAP / max(float(np.abs(turn).max()), LEAP))
        return joints

    def _error(self, place: np.ndarray) -> np.ndarray:
        """What is missing in place [m] and orientation [rad], ``[6]``."""
        quat, turn = np.empty(4), np.empty(3)
        away = DOWN @ self._data.site_xmat[self._hand].reshape(3, 3).T
        mujoco.mju_mat2Quat(quat, away.ravel())
        mujoco.mju_quat2Vel(turn, quat, 1.0)
        return np.concatenate([place - self._data.site_xpos[self._hand], turn])


@cache
def kinematics() -> Kinematics:
    """The arm's kinematics, made once."""
    return Kinematics()
