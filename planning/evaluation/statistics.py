"""Honest numbers for success rates: intervals, paired tests, seeds.

A success table is a float or bool array ``[S, N]``: training seeds by episodes (pair lists of all
evaluation seeds side by side). The same column means the same pair and the same planner seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


class Interval(NamedTuple):
    """A closed interval; for success rates as fractions in [0, 1]."""

    low: float
    high: float


def wilson(successes: int, episodes: int, z: float = Z95) -> Interval:
    """Score interval of a proportion (Wilson 1927, eq. 4): honest near 0 and 1, unlike ±2 SD.

    With no episodes nothing is known: ``[0, 1]``.
    """
    assert 0 <= successes <= episodes
    if episodes == 0:
        return Interval(0.0, 1.0)
    p, n = successes / episodes, episodes
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n the formula touches the bound exactly; rounding must not leave [0, 1].
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == episodes else min(1.0, centre + half)
    return Interval(low, high)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p of a paired comparison: a fair coin on the discordant pairs.

    Args:
        only_first, only_second: pairs solved by one method and not by the other.
    """
    n, k = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)


def paired_p(first: np.ndarray, second: np.ndarray) -> float:
    """Exact McNemar p of two bool arrays ``[N]`` over the same pairs."""
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    assert a.shape == b.shape
    return mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-Bonferroni adjusted p values, in the order given (one claim over several tasks)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and *sample* standard deviation over training seeds; None with fewer than two."""
    array = np.asarray(values, np.float64)
    assert len(array) > 0
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def bootstrap_two_level(
    table: np.ndarray, rng: np.random.Generator, resamples: int = 10_000, level: float = 0.95
) -> Interval:
    """Percentile interval of the mean, resampling training seeds, then pairs inside each.

    Pass a difference ``a - b`` of two success tables for a paired bootstrap of the difference.

    Args:
        table: ``[S, N]`` successes (or differences).
    """
    table = np.asarray(table, np.float64)
    assert table.ndim == 2
    seeds, pairs = table.shape
    means = np.zeros(resamples)
    # One resample of a row is a multinomial draw of how often each of its pairs was taken.
    for _ in range(seeds):
        chosen = rng.integers(seeds, size=resamples)
        for seed in range(seeds):
            rows = np.flatnonzero(chosen == seed)
            counts = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=len(rows))
            means[rows] += counts @ table[seed] / (pairs * seeds)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def normalised_excess(success: float, floor: float) -> float | None:
    """``(s - r) / (1 - r)``: what a method adds to random actions on the same list."""
    return None if floor >= 1 else (success - floor) / (1 - floor)
