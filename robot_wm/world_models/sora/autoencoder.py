"""The latent of frames: a small convolutional VAE, eight pixels to a cell.

Each block frame is compressed alone. Sora's compresses in time as well; here a cost is asked for
after every block, and a goal is one frame, so one latent frame per block is kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.core.images import Size
from robot_wm.training.losses import moving
from robot_wm.world_models.pixels.config import grid_of
from robot_wm.world_models.pixels.parts import Background
from robot_wm.world_models.pixels.spacetime import patches

CELL = 8  # pixels along the side of a cell


class Residual(nn.Module):
    """Two convolutions of 3 x 3 added to their input ``[B, C, h, w]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(min(8, channels), channels)
        self.one = nn.Conv2d(channels, channels, 3, padding=1)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]``."""
        hidden: Tensor = self.two(F.silu(self.one(F.silu(self.norm(x)))))
        return x + hidden


class Autoencoder(nn.Module):
    """Latents ``[..., h, w, Z]`` of pictures, of unit spread over the training data.

    Args:
        size: of the pictures [px], a multiple of :data:`CELL`.
        channels: at a quarter of the size; twice as many at an eighth.
        latent: ``Z``, numbers of a cell.
        kl: weight of the Kullback-Leibler divergence to N(0, I): enough to keep latents smooth.
        motion: see :func:`robot_wm.training.losses.moving`.
    """

    shift: Tensor
    spread: Tensor

    def __init__(self, size: Size, channels: int, latent: int, kl: float, motion: float) -> None:
        super().__init__()
        grid_of(size, CELL)  # refuses what cannot be cut
        self.kl, self.motion, c = kl, motion, channels
        self.background = Background(size)
        self.encoder = nn.Sequential(
            nn.Conv2d(3, c, 4, stride=4), Residual(c), nn.Conv2d(c, 2 * c, 2, stride=2),
            Residual(2 * c), nn.SiLU(), nn.Conv2d(2 * c, 2 * latent, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, 2 * c, 3, padding=1), Residual(2 * c),
            nn.ConvTranspose2d(2 * c, c, 2, stride=2), Residual(c), nn.SiLU(),
            nn.Conv2d(c, 48, 3, padding=1), nn.PixelShuffle(4),
        )  # fmt: skip
        self.register_buffer("shift", torch.zeros(latent))
        self.register_buffer("spread", torch.ones(latent))

    def _posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance ``[B, Z, h, w]`` of ``[B, height, width, 3]``."""
        mean, log_variance = self.encoder(images.permute(0, 3, 1, 2)).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def _draw(self, z: Tensor) -> Tensor:
        """``[B, height, width, 3]`` without the background, of ``[B, Z, h, w]``."""
        images: Tensor = self.decoder(z)
        return images.permute(0, 2, 3, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """Latents ``[B, h, w, Z]``, the posterior's means, of uint8 ``[B, height, width, 3]``."""
        mean, _ = self._posterior(self.background.take(frames))
        return (mean.permute(0, 2, 3, 1) - self.shift) / self.spread

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures ``[..., height, width, 3]`` of latents ``[..., h, w, Z]``."""
        lead, rows = latents.shape[:-3], latents.flatten(0, -4)
        images = self._draw((rows * self.spread + self.shift).permute(0, 3, 1, 2))
        return self.background.add(images.unflatten(0, lead))

    @torch.no_grad()
    def fit_scale(self, frames: Tensor) -> None:
        """Take mean and spread of latents over pictures: noise is of unit spread, too."""
        found = self.encode(frames).flatten(0, 2) * self.spread + self.shift
        self.shift.copy_(found.mean(dim=0))
        self.spread.copy_(found.std(dim=0).clamp(min=1e-3))

    def losses(self, frames: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """How badly windows uint8 ``[B, W, ...]`` are rebuilt, and the divergence."""
        images = self.background.take(frames)
        mean, log_variance = self._posterior(images.flatten(0, 1))
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        drawn = self._draw(mean + noise * (log_variance / 2).exp()).view_as(images)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        rebuilt, true = patches(drawn, CELL), patches(images, CELL)
        return {
            "picture": 100 * moving(rebuilt, true, self.motion), "divergence": self.kl * divergence
        }  # fmt: skip
