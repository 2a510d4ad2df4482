"""Mean and standard deviation of a quantity, fitted on the training split only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_wm.core.errors import DataError


@dataclass(frozen=True)
class Statistics:
    """Per-dimension mean and standard deviation, float64 ``[D]``."""

    mean: np.ndarray
    std: np.ndarray

    @staticmethod
    def fit(rows: np.ndarray, floor: float = 1e-6) -> Statistics:
        """Fit on ``[N, D]``; a constant dimension gets ``std = 1`` so that it maps to 0.

        Raises:
            DataError: no rows, or NaN.
        """
        rows = np.asarray(rows, np.float64)
        if len(rows) == 0 or not np.isfinite(rows).all():
            raise DataError(
                f"{len(rows)} rows, finite: {bool(np.isfinite(rows).all())}",
                "at least one row of finite numbers",
                "collect data first with `robot-wm collect`",
            )
        std = rows.std(axis=0)
        return Statistics(rows.mean(axis=0), np.where(std < floor, 1.0, std))

    def normalize(self, rows: np.ndarray) -> np.ndarray:
        """``(rows - mean) / std``, float32."""
        return ((rows - self.mean) / self.std).astype(np.float32)

    def to_json(self) -> dict[str, list[float]]:
        """Readable form, kept beside the weights."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}
