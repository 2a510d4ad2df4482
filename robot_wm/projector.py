"""From encoder tokens to the compact latent in which the model predicts and compares.

``Reduce`` is fixed (fitted once on training frames), ``Projector`` is learned. Splitting them lets
training keep the reduced tokens, a quarter of the size, in memory.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.errors import DataError


class Reduce(nn.Module):
    """LayerNorm, subtract each position's mean, project on the leading principal components.

    Centring per position matters: on a fixed camera most token variance is position alone, which
    says nothing about the scene. Components are scaled to unit variance.

    Args:
        positions: ``P``, tokens of one frame.
        width: ``D``, encoder width.
        dims: ``R``, kept components.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, positions: int, width: int, dims: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(positions, width))
        self.register_buffer("basis", torch.zeros(width, dims))

    def forward(self, tokens: Tensor) -> Tensor:
        """``[N, P, D]`` to ``[N, P, R]``."""
        return (F.layer_norm(tokens, tokens.shape[-1:]) - self.mean) @ self.basis

    @torch.no_grad()
    def fit(self, tokens: np.ndarray) -> float:
        """Fit on training tokens ``[N, P, D]``; returns the explained fraction of the variance.

        Raises:
            DataError: tokens that never change (a dead encoder or a dead camera).
        """
        rows = torch.cat(
            [
                F.layer_norm(torch.from_numpy(np.asarray(part, np.float32)), tokens.shape[-1:])
                for part in np.array_split(tokens, max(1, len(tokens) // 512))
            ]
        )
        mean = rows.mean(dim=0)
        flat = (rows - mean).flatten(0, 1)
        values, vectors = torch.linalg.eigh((flat.T @ flat / len(flat)).double())
        dims = self.basis.shape[1]
        kept, vectors = values[-dims:].flip(0), vectors[:, -dims:].flip(1)
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
        self.basis.copy_(vectors / kept.clamp(min=1e-4 * float(kept[0])).sqrt())
        return float(kept.sum() / values.sum())


class Projector(nn.Module):
    """Tokens to slots to ``z``: what is where, found the same way in every place.

    One convolution over the token grid, then ``slots`` attention maps, each with a soft-argmax
    position (Finn et al. 2016, arXiv:1509.06113), a learned sub-patch offset and some content, then
    an MLP plus a linear skip. A plain MLP over the flattened grid has to learn every place by
    itself: on push_t its latent lost the block's angle and half of the pusher.

    Args:
        positions: ``P``, a square grid.
        dims: ``R``, reduced components per token.
        slots: attention maps; the convolution is twice as wide.
        hidden: width of the MLP.
        latent: ``Z``.
    """

    CONTENT = 6  # numbers carried per slot, the first two added to its position

    def __init__(self, positions: int, dims: int, slots: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.grid, self.slots, width = math.isqrt(positions), slots, 2 * slots
        self.near = nn.Conv2d(dims, width, 3, padding=1)
        self.maps = nn.Conv2d(width, slots, 1)
        self.content = nn.Conv2d(width, slots * self.CONTENT, 1)
        axis = torch.linspace(-1, 1, self.grid)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("places", torch.stack([x, y]).flatten(1), persistent=False)
        flat = slots * self.CONTENT
        self.norm = nn.LayerNorm(flat, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(flat, hidden), nn.GELU(), nn.Linear(hidden, latent))
        self.skip = nn.Linear(flat, latent, bias=False)

    def forward(self, reduced: Tensor) -> Tensor:
        """Reduced tokens ``[..., P, R]`` to latents ``[..., Z]``."""
        lead, (count, dims) = reduced.shape[:-2], reduced.shape[-2:]
        grid = reduced.reshape(-1, self.grid, self.grid, dims).permute(0, 3, 1, 2)
        x = F.gelu(self.near(grid))
        attention = self.maps(x).flatten(2).softmax(dim=-1)  # [B, K, P]
        values = self.content(x).reshape(-1, self.slots, self.CONTENT, count)
        carried = (values * attention[:, :, None]).sum(dim=-1)
        place = attention @ self.get_buffer("places").T  # [B, K, 2]
        flat = torch.cat([place + carried[..., :2], carried[..., 2:]], dim=-1).flatten(1)
        z = self.mlp(self.norm(flat)) + self.skip(flat)
        return z.reshape(*lead, z.shape[-1])
