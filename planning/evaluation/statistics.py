"""Honest numbers for success rates: intervals of proportions, spread over training seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
# The same of Student's t by degrees of freedom; beyond the last one that one, which is too wide.
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class ConfidenceInterval(NamedTuple):
    """A closed interval; for success rates as fractions in [0, 1]."""

    low: float
    high: float


def wilson(successes: int, episodes: int, z: float = Z95) -> ConfidenceInterval:
    """Score interval of a proportion (Wilson 1927, eq. 4): honest near 0 and 1, unlike ±2 SD.

    With no episodes nothing is known: ``[0, 1]``.
    """
    assert 0 <= successes <= episodes
    if episodes == 0:
        return ConfidenceInterval(0.0, 1.0)
    p, n = successes / episodes, episodes
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n the formula touches the bound exactly; rounding must not leave [0, 1].
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == episodes else min(1.0, center + half)
    return ConfidenceInterval(low, high)


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p of discordant pairs (McNemar 1947): binomial with 1/2, doubled tail.

    Args:
        lost, won: pairs solved only before, and only after.
    """
    assert min(lost, won) >= 0
    n = lost + won
    tail = sum(math.comb(n, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * tail / 2**n)


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and *sample* standard deviation over training seeds; None with fewer than two."""
    array = np.asarray(values, np.float64)
    assert len(array) > 0
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def student(values: Sequence[float]) -> ConfidenceInterval:
    """95 % interval of a mean over few runs by Student's t (1908); one value leaves it open."""
    mean, sd = mean_sd(values)
    if sd is None:
        return ConfidenceInterval(-math.inf, math.inf)
    half = T95[min(len(values) - 1, max(T95))] * sd / math.sqrt(len(values))
    return ConfidenceInterval(mean - half, mean + half)
