"""Small parts that several generating world models are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.core.images import Size, sides
from robot_wm.data.windows import Windows


class Standardize(nn.Module):
    """Vectors ``[..., L]`` of zero mean and unit spread, by a running average of batches.

    Unlike torch's batch normalisation it learns when told to, not by the mode of the module around
    it: networks of earlier stages are fixed while later ones are in training mode.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, size: int, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))

    def learn(self, x: Tensor) -> Tensor:
        """By the batch's own statistics, which the average takes in."""
        rows = x.flatten(0, -2)
        variance, mean = torch.var_mean(rows, dim=0, correction=0)
        self.mean.lerp_(mean.detach(), self.momentum)
        self.variance.lerp_(variance.detach(), self.momentum)
        return self._by(x, mean, variance)

    def forward(self, x: Tensor) -> Tensor:
        """By the running average."""
        return self._by(x, self.mean, self.variance)

    def _by(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (x - mean) * (variance + 1e-5).rsqrt()


class Background(nn.Module):
    """Pictures as differences from the mean training picture, which a fixed camera hardly leaves.

    What stands still then costs an autoencoder neither codes nor capacity.
    """

    mean: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(*sides(size), 3))

    def fit(self, windows: Windows, count: int = 200) -> None:
        """Take the mean of the frames of ``count`` windows."""
        frames, _ = windows.evenly_spaced(count)
        self.mean.copy_(frames.float().mean(dim=(0, 1)) / 255)

    def take(self, frames: Tensor) -> Tensor:
        """Pictures uint8 ``[..., height, width, 3]`` without it."""
        return frames.float() / 255 - self.mean

    def add(self, images: Tensor) -> Tensor:
        """Pictures in [0, 1] again."""
        return images + self.mean


def two_layers(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """A small map with one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))
