"""Vector quantisation with a codebook on the sphere and codes that come back to life."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATIENCE = 50  # steps without use after which a code is put where something is
COMMITMENT = 0.25


class VectorQuantizer(nn.Module):
    """``K`` unit vectors; a vector ``[..., L]`` becomes the one it points to most.

    Loss ‖sg z - e‖² + β‖z - sg e‖² (van den Oord et al. 2017, arXiv:1711.00937) of unit vectors;
    gradients go straight through. A code that was not used for :data:`PATIENCE` steps is replaced
    by a vector of the batch.
    """

    idle: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(codes, width))
        self.register_buffer("idle", torch.full((codes,), PATIENCE))  # all begin on data

    def vectors(self) -> Tensor:
        """All codes as unit vectors ``[K, L]``."""
        return F.normalize(self.codebook, dim=-1)

    def nearest(self, z: Tensor) -> Tensor:
        """Codes int64 ``[...]`` of vectors ``[..., L]`` of any length."""
        return (z @ self.vectors().T).argmax(dim=-1)

    def embed(self, codes: Tensor) -> Tensor:
        """Unit vectors ``[..., L]`` of codes."""
        return F.embedding(codes, self.vectors())

    def learn(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Quantised vectors ``[..., L]`` through which gradients pass, and the loss."""
        z = F.normalize(z, dim=-1)
        self._revive(z.detach().flatten(0, -2), generator)
        codes = self.nearest(z)
        self.idle += 1
        self.idle[codes.flatten().unique()] = 0
        found = self.embed(codes)
        to_code, to_vector = (
            (a - b).square().sum(-1).mean() for a, b in ((z.detach(), found), (z, found.detach()))
        )
        return z + (found - z).detach(), to_code + COMMITMENT * to_vector

    @torch.no_grad()
    def _revive(self, rows: Tensor, generator: torch.Generator) -> None:
        dead = (self.idle >= PATIENCE).nonzero()[:, 0]
        if len(dead):
            drawn = torch.randint(len(rows), (len(dead),), generator=generator)
            self.codebook[dead] = rows[drawn.to(rows.device)]
            self.idle[dead] = 0


def perplexity(codes: Tensor, count: int) -> float:
    """Exp of the entropy of how often each of ``count`` codes is used: ``count`` at best."""
    share = torch.bincount(codes.flatten(), minlength=count).double() / codes.numel()
    return float(torch.special.entr(share).sum().exp())
