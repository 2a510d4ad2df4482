"""Sizes of pictures: one number [px] for a square, ``[height, width]`` for any other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.core.errors import InputError

Size = int | tuple[int, int]
TOKENS = 64  # of a picture, where nobody says how large a patch is
MOST = 1024  # of a patch [px]


@dataclass(frozen=True)
class Sides:
    """A range of both sides [px], for ``Annotated[Size, Sides(8, 1024)]``."""

    low: int
    high: int

    def holds(self, value: Any) -> bool:
        """Whether both sides lie within."""
        return all(self.low <= side <= self.high for side in sides(value))

    def __str__(self) -> str:
        return f"a number or [height, width], each at least {self.low}, at most {self.high}"


def sides(size: Size | Sequence[int]) -> tuple[int, int]:
    """Height and width [px] of an image size."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def size_of(height: int, width: int) -> Size:
    """The size of a picture in its shortest form, as files hold it."""
    return height if height == width else (height, width)


def spelled(size: Size | Sequence[int]) -> str:
    """``64x48``, width before height as cameras are sold."""
    height, width = sides(size)
    return f"{width}x{height}"


def token_grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of ``tokens`` equal patches, whose grid is most like the picture."""
    rows = [r for r in range(1, tokens + 1) if tokens % r == 0]
    best = min(rows, key=lambda r: abs(np.log(r * r / tokens * width / height)))
    return best, tokens // best


def patch_of(size: Size | Sequence[int]) -> int:
    """Side [px] of the square patches that cut a picture into as nearly 64 tokens as can be."""
    height, width = sides(size)
    most = min(height, width, MOST)
    fitting = [p for p in range(1, most + 1) if height % p == width % p == 0]
    return min(fitting, key=lambda p: abs(math.log(height * width / p**2 / TOKENS)))


def check_image(frames: np.ndarray, size: Size | None = None) -> None:
    """Refuse anything but uint8 RGB frames ``[T, height, width, 3]`` (of any size if None).

    Raises:
        InputError: wrong dtype, rank, channels or size, or NaN pixels.
    """
    height, width = sides(size) if size else ("height", "width")
    wanted = f"uint8 [T, {height}, {width}, 3]"
    frames = np.asarray(frames)
    if frames.dtype != np.uint8:
        nan = " holding NaN" if frames.dtype.kind == "f" and np.isnan(frames).any() else ""
        raise InputError(
            f"image of dtype {frames.dtype}{nan}, shape {frames.shape}",
            wanted,
            "pass the camera's 8-bit RGB frames; normalisation happens inside the model",
        )
    if frames.ndim != 4 or frames.shape[0] < 1 or frames.shape[3] != 3:
        raise InputError(f"image of shape {frames.shape}", wanted, "stack RGB frames along axis 0")
    if size is not None and frames.shape[1:3] != (height, width):
        raise InputError(
            f"image of {frames.shape[2]}x{frames.shape[1]} pixels",
            f"{width}x{height} pixels",
            "render or resize at the size the model was trained on",
        )
