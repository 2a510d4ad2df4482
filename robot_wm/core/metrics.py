"""Numbers that trainings and judges report, of NumPy arrays and of tensors alike."""

from __future__ import annotations

from typing import Any

import numpy as np


def r2(guess: Any, truth: Any, mean: Any = None, axis: int | None = 0, floor: float = 0.0) -> Any:
    """R² = 1 - Σ(guess - truth)² / Σ(truth - mean)²: 1 is perfect, 0 is always saying the mean.

    Args:
        guess, truth: ``[N, …]``.
        mean: what is always said, ``[…]``; the mean of ``truth`` over its rows if None.
        axis: summed over: 0 gives one number per column, None one number in all.
        floor: least denominator, where a truth that never changes must not divide by 0.
    """
    mean = truth.mean(0) if mean is None else mean
    spread = ((truth - mean) ** 2).sum(axis).clip(floor)
    return 1 - ((guess - truth) ** 2).sum(axis) / spread


def auroc(without: np.ndarray, having: np.ndarray) -> float:
    """Probability that a number of ``having`` is above one of ``without``; ties count one half.

    The area under the curve of true over false alarms (Mann and Whitney).
    """
    ordered = np.sort(without)
    below = np.searchsorted(ordered, having, side="left")
    upto = np.searchsorted(ordered, having, side="right")
    return float((below + upto).mean() / (2 * len(without)))


def participation_ratio(variances: Any) -> float:
    """(Σλ)²/Σλ² of variances λ along principal axes: how many directions share the variance."""
    return float(variances.sum() ** 2 / max((variances**2).sum(), 1e-300))
