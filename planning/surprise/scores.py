"""From surprise frame by frame to one number a clip, and from those to accuracies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planning.evaluation.statistics import ConfidenceInterval
from robot_wm.core import metrics
from robot_wm.core.errors import WeightsError
from robot_wm.core.protocols import Surprising
from robot_wm.core.symmetry import Mirror

RESAMPLES = 2000
POOLINGS: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean": lambda surprise: float(surprise.mean()),
    "max": lambda surprise: float(surprise.max()),
}


class Clips(Protocol):
    """A pair of clips (``sim.physics.clips.ClipPair``)."""

    @property
    def possible(self) -> np.ndarray: ...  # noqa: D102
    @property
    def impossible(self) -> np.ndarray: ...  # noqa: D102
    @property
    def actions(self) -> np.ndarray: ...  # noqa: D102


Judged = Sequence[tuple[np.ndarray, np.ndarray]]
"""Surprise ``[T-1]`` of the possible and of the impossible clip of each pair."""


class PixelDifference:
    """:class:`Surprising` that knows nothing: the mean absolute change of pixels."""

    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Float32 ``[T-1]``."""
        change = np.abs(np.diff(frames.astype(np.float32), axis=0))
        return np.asarray(change.mean(axis=(1, 2, 3)), np.float32)


@dataclass(frozen=True)
class BothViews:
    """:class:`Surprising`: the mean of what a model says of a clip and of its mirror image."""

    model: Surprising
    mirror: Mirror

    def surprise(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Float32 ``[T-1]``."""
        seen = self.model.surprise(self.mirror.images(frames), self.mirror.actions(actions))
        return np.asarray((self.model.surprise(frames, actions) + seen) / 2, np.float32)


def judged(model: Surprising, pairs: Sequence[Clips]) -> Judged:
    """What a model says of both clips of every pair.

    Raises:
        WeightsError: surprise that is not finite, which would count as none or as all.
    """
    found = [
        (model.surprise(pair.possible, pair.actions), model.surprise(pair.impossible, pair.actions))
        for pair in pairs
    ]
    if not all(np.isfinite(clip).all() for both in found for clip in both):
        raise WeightsError(
            "surprise that is NaN or infinite", "finite numbers", "train the model again"
        )
    return found


def pooled(found: Judged, pooling: str) -> np.ndarray:
    """One number a clip, ``[N, 2]``, the possible one first."""
    pool = POOLINGS[pooling]
    return np.array([[pool(clip) for clip in pair] for pair in found], np.float64)


def best_pooling(found: Judged) -> str:
    """The pooling that tells most pairs apart; the first of equals."""
    return max(POOLINGS, key=lambda pooling: pairwise(pooled(found, pooling)))


def pairwise(scores: np.ndarray) -> float:
    """Share of pairs ``[N, 2]`` whose impossible clip surprises more; ties count one half."""
    gap = scores[:, 1] - scores[:, 0]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def auroc(scores: np.ndarray) -> float:
    """Probability that any impossible clip surprises more than any possible one, of ``[N, 2]``."""
    return metrics.auroc(scores[:, 0], scores[:, 1])


def bootstrap(
    statistic: Callable[[np.ndarray], float], scores: np.ndarray, rng: np.random.Generator
) -> ConfidenceInterval:
    """95 % interval of a statistic of pairs ``[N, 2]``, resampled by scene: both clips together."""
    n = len(scores)
    draws = [statistic(scores[rng.integers(n, size=n)]) for _ in range(RESAMPLES)]
    return ConfidenceInterval(*(float(q) for q in np.percentile(draws, [2.5, 97.5])))
