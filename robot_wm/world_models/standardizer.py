"""Zero mean and unit spread, by statistics that travel with the weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.data.normalization import Statistics


class Standardizer(nn.Module):
    """To zero mean and unit variance, fitted on the training split: of blocks, or of latents.

    Args:
        size: of the last dimension.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, rows: np.ndarray) -> None:
        """Take the statistics of rows ``[N, D]``.

        Raises:
            DataError: no rows, or NaN.
        """
        found = Statistics.fit(rows)
        self.mean.copy_(torch.from_numpy(found.mean))
        self.std.copy_(torch.from_numpy(found.std))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised ``(x - mean) / std``, per number of the last axis."""
        return (x - self.mean) / self.std

    def inverse(self, normal: Tensor) -> Tensor:
        """Unit variance to its own unit."""
        return normal * self.std + self.mean
