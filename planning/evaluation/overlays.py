"""Detail that does not matter, laid over what an agent sees: noise that a good world model ignores.

The claim that generating pixels wastes capacity on noise (LeCun 2022, section 4.5) is about noise
that is new in every frame; what is fixed through a clip can be predicted, and may hurt otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robot_wm.core.errors import ConfigError

KINDS = ("new", "fixed")
Overlay = Callable[[np.ndarray], np.ndarray]


def parse_overlay(name: str) -> tuple[str, float]:
    """``new:0.1`` or ``fixed:0.1``: kind, and standard deviation in shares of full brightness.

    Raises:
        ConfigError: anything else.
    """
    kind, _, level = name.partition(":")
    try:
        value = float(level)
    except ValueError:
        value = -1.0
    if kind not in KINDS or not 0 < value <= 1:
        raise ConfigError(
            f"overlay {name!r}", "new:LEVEL or fixed:LEVEL with a level in (0, 1]", "e.g. new:0.1"
        )
    return kind, value


def overlay(name: str, seed: int) -> Overlay:
    """Lays Gaussian noise over images uint8 ``[..., height, width, 3]`` of one episode.

    Args:
        name: see :func:`parse_overlay`; empty changes nothing.
        seed: of the episode. ``fixed`` noise is the same in start, rollout and goal picture.

    Raises:
        ConfigError: see :func:`parse_overlay`.
    """
    if not name:
        return lambda image: image
    (kind, level), rng = parse_overlay(name), np.random.default_rng(seed)
    kept: dict[tuple[int, ...], np.ndarray] = {}

    def lay(image: np.ndarray) -> np.ndarray:
        shape = image.shape[-3:] if kind == "fixed" else image.shape
        if kind == "new" or shape not in kept:
            kept[shape] = 255 * level * rng.standard_normal(shape)
        return np.clip(np.rint(image + kept[shape]), 0, 255).astype(np.uint8)

    return lay
