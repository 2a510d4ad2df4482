"""Does abstraction absorb chance? Probes of predicted latents, and what is drawn instead.

Letters: ``N`` clips, ``H`` predicted frames, ``T`` frames of a clip, ``Z`` numbers of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robot_wm.core.metrics import auroc, r2

SEEN = 2  # frames of a clip that are shown; the ball reaches the ridge after the third
RIDGE, NEWTON = 1e-2, 25  # penalty on a probe's weights at unit variance; steps of its fit
FAINT, SOLID = 0.25, 0.75  # of the ball's contrast: below there is no ball, above a whole one
CONTRAST = 0.1  # between two truths, of 1, from which on a pixel shows the ball in one of them

Values = dict[str, float]


class Facts(Protocol):
    """Labels of frames (``sim.tasks.ridge.Facts``), arrays of one shape."""

    @property
    def landed(self) -> np.ndarray: ...  # noqa: D102
    @property
    def touching(self) -> np.ndarray: ...  # noqa: D102
    @property
    def right(self) -> np.ndarray: ...  # noqa: D102
    @property
    def height(self) -> np.ndarray: ...  # noqa: D102


Possible = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Whether height [m], landed and touching can be together (``sim.physics.ridge.possible``)."""


@dataclass(frozen=True)
class Probe:
    """A linear read-out; for a yes or no its sign is the answer, its size the log-odds."""

    mean: np.ndarray
    weights: np.ndarray
    bias: float

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """Of latents ``[..., Z]``."""
        read: np.ndarray = (latents - self.mean) @ self.weights + self.bias
        return read

    @staticmethod
    def fit(latents: np.ndarray, labels: np.ndarray) -> Probe:
        """Ridge regression of numbers, logistic regression of bool, ``[M, Z]`` and ``[M]``."""
        mean, scale = latents.mean(0), latents.std(0)
        scale = np.where(scale < 1e-9, 1.0, scale)
        rows = np.column_stack([(latents - mean) / scale, np.ones(len(latents))]).astype(np.float64)
        penalty = RIDGE * np.diag(np.append(np.ones(rows.shape[1] - 1), 0.0))
        found, truth = np.zeros(rows.shape[1]), labels.astype(np.float64)
        yes_or_no = labels.dtype == bool
        for _ in range(NEWTON if yes_or_no else 1):
            guess = rows @ found
            slope = np.ones(len(rows))
            if yes_or_no:
                guess = 1 / (1 + np.exp(-np.clip(guess, -30, 30)))
                slope = np.maximum(guess * (1 - guess), 1e-6)
            gradient = rows.T @ (truth - guess) / len(rows) - penalty @ found
            found = found + np.linalg.solve((rows.T * slope) @ rows / len(rows) + penalty, gradient)
        return Probe(mean, found[:-1] / scale, float(found[-1]))


@dataclass(frozen=True)
class Probes:
    """What is read from a latent; the side from where the ball has landed alone."""

    landed: Probe
    touching: Probe
    right: Probe
    height: Probe

    @staticmethod
    def fit(latents: np.ndarray, facts: Facts) -> Probes:
        """Of latents ``[..., Z]`` of true frames."""
        rows = latents.reshape(-1, latents.shape[-1])
        landed = facts.landed.ravel()
        return Probes(
            Probe.fit(rows, landed), Probe.fit(rows, facts.touching.ravel()),
            Probe.fit(rows[landed], facts.right.ravel()[landed]),
            Probe.fit(rows, facts.height.ravel()),
        )  # fmt: skip

    def read(self, latents: np.ndarray, facts: Facts, possible: Possible) -> Values:
        """How well they tell the facts ``[N, H]`` from latents ``[N, H, Z]``.

        Returns:
            Areas under curves ``landed_auc``, ``touching_auc`` and, of frames in which the ball has
            landed, ``side_auc``; ``height_r2``; ``valid``, the share of frames of which what is
            read can be.
        """
        landed, touching = self.landed(latents), self.touching(latents)
        height, side = self.height(latents), self.right(latents)[facts.landed]
        right = facts.right[facts.landed]
        return {
            "landed_auc": auroc(landed[~facts.landed], landed[facts.landed]),
            "side_auc": auroc(side[~right], side[right]),
            "valid": float(possible(height, landed > 0, touching > 0).mean()),
            "touching_auc": auroc(touching[~facts.touching], touching[facts.touching]),
            "height_r2": float(r2(height, facts.height, facts.height.mean(), axis=None)),
        }


def clock(facts: Facts) -> float:
    """Area by which the number of a frame alone, of facts ``[N, H]``, tells that it landed."""
    number = np.broadcast_to(np.arange(facts.landed.shape[1], dtype=float), facts.landed.shape)
    return auroc(number[~facts.landed], number[facts.landed])


def between(
    predicted: np.ndarray, truth: np.ndarray, other: np.ndarray, landed: np.ndarray
) -> float:
    """Share of landed predictions ``[N, H, Z]`` that are nearest to the mean of both truths.

    Linear probes cannot tell such a mean from a state that says nothing of the side: what both
    truths have in common is read from either.
    """
    ways = (truth, other, (truth + other) / 2)
    gaps = np.stack([np.square(predicted - way).sum(-1)[landed] for way in ways])
    return float((gaps.argmin(0) == 2).mean())


def nearest(latents: np.ndarray, bank: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """The pictures ``[M, …]`` whose latents ``[M, Z]`` are nearest to some ``[H, Z]``."""
    gaps = np.square(latents[:, None] - bank[None]).sum(-1)
    found: np.ndarray = pictures[gaps.argmin(1)]
    return found


@dataclass(frozen=True)
class Drawn:
    """What one drawn frame shows where the ball may lie.

    Attributes:
        left, right: share of the ball's contrast that is there, 0 (background) to 1 (ball).
        sharpness: energy of gradients in both places over that of the true frame.
    """

    left: float
    right: float
    sharpness: float

    @staticmethod
    def of(predicted: np.ndarray, left: np.ndarray, right: np.ndarray) -> Drawn:
        """Of a frame and both that may come, ball left and right: uint8 ``[height, width, 3]``.

        Both agree on everything but the ball, so that each shows the background of the place where
        the other one has it.
        """
        ahead, lefts, rights = (f.astype(np.float64) / 255 for f in (predicted, left, right))
        differs = np.abs(lefts - rights).max(-1) > CONTRAST
        columns = np.arange(left.shape[1])
        middle = columns[differs.any(0)].mean()
        shares = []
        for half, ball, ground in ((columns < middle, lefts, rights),
                                   (columns >= middle, rights, lefts)):  # fmt: skip
            place = differs & half
            change = (ball - ground)[place]
            share = ((ahead - ground)[place] * change).sum() / np.square(change).sum()
            shares.append(float(share))
        energies = [
            sum(float(np.square(slope)[differs].sum()) for slope in np.gradient(f, axis=(0, 1)))
            for f in (ahead, lefts)
        ]
        return Drawn(shares[0], shares[1], energies[0] / energies[1])


def pictured(frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, bool]]) -> Values:
    """Of drawn frames in which the ball has landed.

    Args:
        frames: each with the truth, the other truth, and whether the truth is on the right.

    Returns:
        ``impossible``, the share with a ball in ``both`` places or in ``neither``; ``whole``, with
        all of a ball in one place and none in the other; ``sharpness``; ``side_auc``.
    """
    shares, sharp, rights = list[tuple[float, float]](), list[float](), list[bool]()
    for predicted, truth, other, right in frames:
        ways = (other, truth) if right else (truth, other)
        shown = Drawn.of(predicted, *ways)
        shares.append((shown.left, shown.right))
        sharp.append(shown.sharpness)
        rights.append(right)
    found, truth_right = np.array(shares), np.array(rights)
    least, most = found.min(1), found.max(1)
    lean = found[:, 1] - found[:, 0]
    both, neither = float((least > FAINT).mean()), float((most < FAINT).mean())
    return {
        "side_auc": auroc(lean[~truth_right], lean[truth_right]),
        "impossible": both + neither, "both": both, "neither": neither,
        "whole": float(((most > SOLID) & (least < FAINT)).mean()),
        "sharpness": float(np.mean(sharp)),
    }  # fmt: skip
