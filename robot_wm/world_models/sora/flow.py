"""Flow matching: from noise to data along straight lines.

x_τ = τ x + (1 - τ) ε with ε ~ N(0, I); a network learns v = x - ε, the velocity (Lipman et al.
2023, arXiv:2210.02747; SiT, arXiv:2401.08740); dx = v dτ leads from noise at τ = 0 to data at
τ = 1. Every frame may have a τ of its own (diffusion forcing, Chen et al. 2024, arXiv:2407.01392):
frames that were seen have τ = 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SEEN = 0.1  # largest noise on frames that count as seen, in training


def between(data: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
    """x_τ of data and noise ``[B, T, ...]`` at ``tau`` ``[B, T]``."""
    tau = tau.view(*tau.shape, *[1] * (data.ndim - 2))
    return tau * data + (1 - tau) * noise


def levels(
    windows: int, frames: int, context: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """τ of each frame in training, and which frames count, each ``[B, T]``.

    Half of the windows are as in use: up to ``context`` frames that are seen, which do not count,
    and the others at one level. In the other half every frame has its own.
    """

    def chance(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    own, shared = chance(windows, frames), chance(windows, 1).expand(windows, frames)
    seen = torch.arange(frames)[None] < (1 + (context * chance(windows, 1)).long())
    in_use = chance(windows, 1) < 0.5
    forecast = torch.where(seen, 1 - SEEN * own, shared)
    return torch.where(in_use, forecast, own), ~(in_use & seen)


def euler(velocity: Callable[[Tensor, float], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Data at τ = 1 from noise at τ = 0, in equal steps; ``velocity`` is asked for (x, τ)."""
    x = noise
    for i in range(steps):
        x = x + velocity(x, i / steps) / steps
    return x
