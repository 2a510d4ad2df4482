"""A reflection that leaves a scene and its dynamics as they are: on images and on actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError

IMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "left-right": lambda frames: frames[..., ::-1, :],
    "up-down": lambda frames: frames[..., ::-1, :, :],
    "transpose": lambda frames: np.swapaxes(frames, -2, -3),
    "antitranspose": lambda frames: np.swapaxes(frames[..., ::-1, ::-1, :], -2, -3),
}


@dataclass(frozen=True)
class Mirror:
    """A mirror.

    Attributes:
        image: how a picture is reflected, one of ``IMAGES``.
        order, signs: entry ``i`` of the reflected control action is entry ``order[i]`` of the
            action, times ``signs[i]``; the bounds must allow it.

    Raises:
        ConfigError: another reflection, or one that is not its own inverse.
    """

    image: str
    order: tuple[int, ...]
    signs: tuple[float, ...]

    def __post_init__(self) -> None:
        twice = [self.order[i] for i in self.order] if self._valid() else []
        signs = [self.signs[i] * self.signs[j] for i, j in enumerate(self.order)] if twice else []
        if self.image not in IMAGES or twice != list(range(len(twice))) or set(signs) != {1.0}:
            raise ConfigError(
                f"mirror {self}",
                f"an image of {', '.join(IMAGES)}, and actions that two reflections leave alone",
                "correct the scene's mirror",
            )  # fmt: skip

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Mirror:
        """From ``dataclasses.asdict`` read back as JSON."""
        return build(Mirror, value, "mirror")

    def _valid(self) -> bool:
        return 0 < len(self.order) < 65 and sorted(self.order) == list(range(len(self.signs)))

    def fits(self, height: int, width: int) -> bool:
        """Whether pictures of this size keep it when they are reflected."""
        return height == width or self.image in ("left-right", "up-down")

    def images(self, frames: np.ndarray) -> np.ndarray:
        """Reflected frames ``[..., height, width, 3]``."""
        return np.ascontiguousarray(IMAGES[self.image](frames))

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """Reflected actions: control actions, or blocks of them side by side, on the last axis."""
        size = len(self.order)
        single = actions.reshape(*actions.shape[:-1], actions.shape[-1] // size, size)
        signs = np.asarray(self.signs, actions.dtype)
        return (single[..., list(self.order)] * signs).reshape(actions.shape)
