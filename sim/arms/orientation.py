"""Orientations of a cube, of which 24 look and behave the same.

The pose of a cube names the one among them that stands on the face that is lowest: four times its
yaw, which a quarter turn does not change, and a tilt vector in the plane of the table. Both are
continuous in what is seen until the cube tips over an edge.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

# The proper rotations of a cube, as signed permutation matrices [24, 3, 3].
ROTATIONS = np.array(
    [
        matrix
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
        if np.linalg.det(matrix := np.diag(signs)[list(order)]) > 0
    ]
)


def matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices ``[..., 3, 3]`` of unit quaternions ``[..., 4]``, w first."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions, np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def fold(turns: np.ndarray) -> np.ndarray:
    """Four times the yaw in [0, 2π), and the tilt vector [rad], ``[..., 3]``.

    Args:
        turns: rotation matrices ``[..., 3, 3]``.
    """
    shape, turns = turns.shape[:-2], turns.reshape(-1, 3, 3)
    rows = np.arange(len(turns))
    axis = np.abs(turns[:, 2]).argmax(-1)  # the cube's own axis that is most upright
    up = turns[rows, :, axis] * np.sign(turns[rows, 2, axis])[:, None]
    sin = np.linalg.norm(up[:, :2], axis=-1)
    tilt = np.arctan2(sin, up[:, 2]) / np.maximum(sin, 1e-300)
    vector = tilt[:, None] * np.stack([-up[:, 1], up[:, 0]], -1)  # axis of the tilt, times angle
    side = turns[rows, :, (axis + 1) % 3]
    level = np.einsum("nji,nj->ni", _tilted(vector), side)  # tilted back
    yaw = np.mod(4 * np.arctan2(level[:, 1], level[:, 0]), 2 * np.pi)
    return np.concatenate([yaw[:, None], vector], -1).reshape(*shape, 3)


def unfold(folded: np.ndarray) -> np.ndarray:
    """One of the 24 rotation matrices ``[..., 3, 3]`` that :func:`fold` makes ``[..., 3]``."""
    yaw = folded[..., 0] / 4
    cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1]]
    return _tilted(folded[..., 1:]) @ np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def angle(folded: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Smallest angle [rad] ``[...]`` between orientations ``[..., 3]`` of a cube, as folded."""
    between = np.swapaxes(unfold(folded), -1, -2) @ unfold(goal)
    traces = np.einsum("...ij,kji->...k", between, ROTATIONS)
    # The chord is exact for small angles, where arccos loses half of the digits.
    return 2 * np.arcsin(np.sqrt(np.clip(3 - traces.max(-1), 0, 4)) / 2)


def _tilted(vector: np.ndarray) -> np.ndarray:
    """Rotations ``[..., 3, 3]`` by horizontal vectors ``[..., 2]`` [rad] (Rodrigues)."""
    size = np.linalg.norm(vector, axis=-1)
    quaternion = np.concatenate(
        [
            np.cos(size / 2)[..., None],
            np.sinc(size / (2 * np.pi))[..., None] / 2 * vector,
            np.zeros_like(size)[..., None],
        ],
        -1,
    )
    return matrices(quaternion)
