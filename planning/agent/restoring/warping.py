"""Homographies, resampling and edges of pictures, in NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FAINT = 0.05  # strength of an edge that counts for a half
# What each of them adds to a homography, row by row; the turn is exact and multiplies instead.
GENERATORS = np.array([
    [0, 0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0],
    [1, 0, 0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 0, -1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 0],
], float).reshape(-1, 3, 3)  # fmt: skip


def homography(move: np.ndarray) -> np.ndarray:
    """``[3, 3]`` of a move's eight numbers: shift, turn, scale, stretch, shear and both tilts."""
    cos, sin = np.cos(move[2]), np.sin(move[2])
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    found = turn @ (np.eye(3) + np.tensordot(move, GENERATORS, 1))
    return np.asarray(found / found[2, 2])


def places(size: Sequence[int], every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Of pixels: right and down from the middle, in halves of the larger side."""
    down, right = (((np.arange(side) - (side - 1) / 2) / (max(size) / 2))[::every] for side in size)
    x, y = np.meshgrid(right, down)
    return x, y


def moved(homography: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a homography takes places."""
    (a, b, c), (d, e, f), (g, h, i) = homography
    depth = g * x + h * y + i
    return (a * x + b * y + c) / depth, (d * x + e * y + f) / depth


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values ``[..., C]`` of an image ``[h, w, ...]`` at places; beyond its edge those at it."""
    height, width = image.shape[:2]
    half = max(height, width) / 2
    column = np.clip(x * half + (width - 1) / 2, 0, width - 1.001)
    row = np.clip(y * half + (height - 1) / 2, 0, height - 1.001)
    i, j = row.astype(int), column.astype(int)
    down, right = row - i, column - j
    if image.ndim == 3:
        down, right = down[..., None], right[..., None]
    above = image[i, j] * (1 - right) + image[i, j + 1] * right
    below = image[i + 1, j] * (1 - right) + image[i + 1, j + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def edges(image: np.ndarray) -> np.ndarray:
    """Strength of edges, 0 to 1, float32 ``[h, w]``: the strongest channel's, saturating."""
    values = np.pad(image.astype(np.float32) / 255, ((1, 1), (1, 1), (0, 0)), "edge")
    down = values[2:, 1:-1] - values[:-2, 1:-1]
    right = values[1:-1, 2:] - values[1:-1, :-2]
    strength = np.hypot(down, right).max(-1)
    return np.asarray(strength / (strength + FAINT))


def blurred(image: np.ndarray, deviation: float) -> np.ndarray:
    """An image ``[h, w]`` under a Gaussian of so many pixels."""
    reach = int(3 * deviation + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(image, [(reach, reach) if k == axis else (0, 0) for k in (0, 1)], "edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis)
        image = windows @ kernel
    return np.asarray(image, np.float32)
