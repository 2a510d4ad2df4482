"""Where the arm's joints put the gripper, and which joints put it somewhere.

Differential inverse kinematics as OGBench's controller does it (``manipspace/controllers``), so
that the same action gives the same servo commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np

from sim.arms.ur5e import arm, attach_hand, drop_unseen

HOME = np.array([-np.pi / 2, -np.pi / 2, np.pi / 2, -np.pi / 2, -np.pi / 2, 0.0])  # [rad]
JOINTS, FINGERS = slice(0, 6), slice(6, 14)  # entries of qpos: arm, gripper
DRIVER = 6  # the entry that its motor moves, and another one as far
# Joints of the gripper by its drivers' angle, where its linkage comes to rest, within 3 mrad.
LINKAGE = np.array([1.0, 0.0, 0.999, -0.960] * 2)
CLOSED = 0.8  # that angle where the gripper is closed [rad]
TURN = np.deg2rad(45)  # most that a joint may turn in one iteration [rad]
DOWN = np.diag([1.0, -1.0, -1.0])  # of a gripper that points down at yaw 0


@dataclass(frozen=True)
class Accuracy:
    """When a solution is good enough.

    Attributes:
        iterations: at most so many.
        position: distance that may remain [m].
        turn: angle that may remain [rad].
    """

    iterations: int = 20
    position: float = 1e-4
    turn: float = 1e-4


CONTROL, EXACT = Accuracy(), Accuracy(100, 1e-12, 1e-12)


class Arm:
    """The arm with its gripper in a scratch scene of its own; not for two threads at a time.

    Raises:
        ConfigError: the package that the arm comes from is not installed.
    """

    def __init__(self) -> None:
        self._model = _skeleton()
        self._data = mujoco.MjData(self._model)
        self._flange = self._model.site("attachment_site").id
        self._pinch = self._model.site("robotiq/pinch").id
        mujoco.mj_kinematics(self._model, self._data)
        pinch, flange = (self._place(site) for site in (self._pinch, self._flange))
        self._offset = pinch[1].T @ (flange[0] - pinch[0])  # the flange, seen from the pinch
        self._twist = pinch[1].T @ flange[1]

    def _place(self, site: int) -> tuple[np.ndarray, np.ndarray]:
        return self._data.site_xpos[site].copy(), self._data.site_xmat[site].reshape(3, 3).copy()

    def pinch(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Point between the fingertips ``[..., 3]`` [m] and yaw ``[...]`` [rad] of joints.

        Args:
            joints: of the arm, ``[..., 6]`` [rad].
        """
        flat = np.asarray(joints, np.float64).reshape(-1, 6)
        places, yaws = np.empty((len(flat), 3)), np.empty(len(flat))
        for i, row in enumerate(flat):
            self._data.qpos[JOINTS] = row
            mujoco.mj_kinematics(self._model, self._data)
            turn = self._data.site_xmat[self._pinch]
            places[i], yaws[i] = self._data.site_xpos[self._pinch], np.arctan2(turn[3], turn[0])
        shape = np.shape(joints)[:-1]
        return places.reshape(*shape, 3), yaws.reshape(shape)

    def solve(
        self, place: np.ndarray, yaw: float, start: np.ndarray, accuracy: Accuracy = CONTROL
    ) -> np.ndarray:
        """Joints ``[6]`` [rad] that bring the gripper, pointing down, to a place and a yaw.

        Where it cannot be reached, the best after so many iterations.

        Args:
            place: of the pinch ``[3]`` [m].
            yaw: [rad].
            start: joints from which the search sets out ``[6]``; the nearest solution is found.
        """
        model, data, goal = self._model, self._data, np.empty(4)
        cos, sin = np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ DOWN
        target = place + turn @ self._offset
        mujoco.mju_mat2Quat(goal, (turn @ self._twist).ravel())
        jacobian, error, here = np.empty((6, model.nv)), np.empty(6), np.empty(4)
        data.qpos[JOINTS] = start
        for _ in range(accuracy.iterations):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)  # which Jacobians need
            error[:3] = target - data.site_xpos[self._flange]
            mujoco.mju_mat2Quat(here, data.site_xmat[self._flange])
            mujoco.mju_negQuat(here, here)
            mujoco.mju_mulQuat(here, goal, here)
            mujoco.mju_quat2Vel(error[3:], here, 1.0)
            near = np.linalg.norm(error[:3]) <= accuracy.position
            if near and np.linalg.norm(error[3:]) <= accuracy.turn:
                break
            mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], self._flange)
            moves = jacobian[:, JOINTS]
            update = moves.T @ np.linalg.solve(moves @ moves.T + 1e-12 * np.eye(6), error)
            data.qpos[JOINTS] += update * min(1.0, TURN / max(float(np.abs(update).max()), TURN))
        return data.qpos[JOINTS].copy()


def opening(qpos: np.ndarray) -> np.ndarray:
    """How far the gripper is closed ``[...]``, 0 to 1, of joint states ``[..., nq]``."""
    return np.clip(qpos[..., DRIVER] / CLOSED, 0.0, 1.0)


def fingers(closed: float) -> np.ndarray:
    """Joints of the gripper ``[8]`` [rad] where it stands still and holds nothing.

    Args:
        closed: 0 is open, 1 closed.
    """
    return CLOSED * closed * LINKAGE


@cache
def _skeleton() -> mujoco.MjModel:
    """Arm and gripper without any shape."""
    spec = attach_hand(arm())
    for geom in spec.geoms:
        spec.delete(geom)
    drop_unseen(spec)
    return spec.compile()
