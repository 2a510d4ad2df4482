"""Principal components of tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.errors import DataError


class TokenPCA(nn.Module):
    """Layer norm, subtract each position's mean, project on the leading principal components.

    Centring per position matters: on a fixed camera most token variance is position alone, which
    says nothing about the scene. Components are scaled to unit variance.

    Args:
        positions: ``P``, tokens of one frame.
        width: ``D``, encoder width.
        dims: ``R``, kept components.
        layer_norm: of each token before all else. An encoder's tokens need it; those whose scale
            says something (pixels: a flat wall is flat) lose by it.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, positions: int, width: int, dims: int, layer_norm: bool = True) -> None:
        super().__init__()
        self.layer_norm = layer_norm
        self.register_buffer("mean", torch.zeros(positions, width))
        self.register_buffer("basis", torch.zeros(width, dims))

    def forward(self, tokens: Tensor) -> Tensor:
        """``[N, P, D]`` to ``[N, P, R]``."""
        return (self._normal(tokens) - self.mean) @ self.basis

    def _normal(self, tokens: Tensor) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:]) if self.layer_norm else tokens

    @torch.no_grad()
    def explained(self, tokens: np.ndarray) -> float:
        """Fraction of the variance of tokens ``[N, P, D]`` that the components keep."""
        kept, whole = 0.0, 0.0
        axes = F.normalize(self.basis, dim=0)
        rows = self._normal(torch.from_numpy(np.asarray(tokens, np.float32)))
        for part in (rows - rows.mean(dim=0)).split(512):
            kept += float((part @ axes).square().sum())
            whole += float(part.square().sum())
        return kept / whole if whole else 0.0

    @torch.no_grad()
    def fit(self, tokens: np.ndarray) -> float:
        """Fit on training tokens ``[N, P, D]``; returns the explained fraction of the variance.

        Raises:
            DataError: tokens that never change (a dead encoder or a dead camera).
        """
        rows = torch.cat(
            [
                self._normal(torch.from_numpy(np.asarray(part, np.float32)))
                for part in np.array_split(tokens, max(1, len(tokens) // 512))
            ]
        )
        mean = rows.mean(dim=0)
        flat = (rows - mean).flatten(0, 1)
        values, vectors = torch.linalg.eigh((flat.T @ flat / len(flat)).double())
        dims = self.basis.shape[1]
        variances, vectors = values[-dims:].flip(0), vectors[:, -dims:].flip(1)
        if not float(values.sum()) > 1e-8:
            raise DataError(
                "encoder tokens with no variance over frames",
                "tokens that depend on the scene",
                "check the encoder (a collapsed one looks like this) and the frames",
            )
        # Signs are fixed so that refitting gives the same basis on any LAPACK.
        vectors = vectors * vectors[vectors.abs().argmax(dim=0), torch.arange(dims)].sign()
        self.mean.copy_(mean)
        # Components that explain nothing are noise: the floor stops them being blown up.
        self.basis.copy_(vectors / variances.clamp(min=1e-4 * float(variances[0])).sqrt())
        return float(variances.sum() / values.sum())
