"""What features tell of a factor that is constant through an episode, e.g. the light.

A linear probe of a frame's mean token, as linear probes of representations are: ridge regression,
fitted on training episodes, its strength chosen on validation ones, scored on held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.metrics import r2
from robot_wm.data.episodes import SPLITS
from robot_wm.data.formats.base import EpisodeReader

FRAMES = 4  # of an episode, evenly spaced
STRENGTHS = tuple(10.0**k for k in range(-5, 2))  # of the ridge, in variances of a feature
FLOOR = 1e-12  # of variances

Part = tuple[np.ndarray, np.ndarray]
"""Features ``[N, D]`` and what they are to tell ``[N]``."""


@dataclass(frozen=True)
class Read:
    """How well a factor is read.

    Attributes:
        r2: on held-out episodes.
        episodes: held-out ones.
        fitted: episodes that the probe was fitted on.
    """

    r2: float
    episodes: int
    fitted: int


def linear_r2(train: Part, validation: Part, test: Part) -> float:
    """R² of the best ridge regression on ``test``; each feature in its own deviation."""
    x, y = (np.asarray(side, np.float64) for side in train)
    mean, middle = x.mean(0), y.mean()
    std = np.sqrt(np.maximum(x.var(0), FLOOR))
    x = (x - mean) / std
    covariance, told = x.T @ x / len(x), x.T @ (y - middle) / len(x)

    def score(strength: float, part: Part) -> float:
        weights = np.linalg.solve(covariance + strength * np.eye(len(told)), told)
        guess = (np.asarray(part[0], np.float64) - mean) / std @ weights + middle
        return float(r2(guess, part[1], axis=None, floor=FLOOR))

    best = max(STRENGTHS, key=lambda strength: score(strength, validation))
    return score(best, test)


def read_factor(
    store: EpisodeReader, encode: Callable[[np.ndarray], np.ndarray], factor: str
) -> Read:
    """How well features tell a factor of episodes that differ in it.

    Args:
        encode: uint8 ``[N, H, W, 3]`` to tokens ``[N, P, D]``.

    Raises:
        DataError: episodes without such a factor as a number, or a split without episodes.
    """
    parts, counts = list[Part](), list[int]()
    for split in SPLITS:
        indices = store.indices(split)
        if not indices:
            raise DataError(f"{store.root} has no {split} episodes", "some", "collect more")
        values = [_value(store, i, factor) for i in indices]
        features = [_mean_tokens(store[i].frames, encode) for i in indices]
        parts.append((np.concatenate(features), np.repeat(values, [len(f) for f in features])))
        counts.append(len(indices))
    return Read(linear_r2(parts[0], parts[1], parts[2]), counts[2], counts[0])


def _mean_tokens(frames: np.ndarray, encode: Callable[..., np.ndarray]) -> np.ndarray:
    rows = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    found: np.ndarray = encode(frames[rows]).mean(axis=1)
    return found


def _value(store: EpisodeReader, index: int, factor: str) -> float:
    value = (store.meta(index).get("factors") or {}).get(factor)
    if not isinstance(value, int | float):
        raise DataError(
            f"an episode of {store.root} whose {factor} is {value!r}", "a number",
            "name a factor that is one, and a collection in which it differs",
        )  # fmt: skip
    return float(value)
