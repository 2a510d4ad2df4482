"""Small parts that several generating world models are made of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.images import Size, sides
from robot_wm.data.normalization import Statistics
from robot_wm.world_models.generative.windows import FrameWindows


class Normalize(nn.Module):
    """Blocks ``[..., A]`` of zero mean and unit spread, by statistics that travel with weights."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, actions: np.ndarray) -> None:
        """Take the statistics of recorded blocks ``[F, A]``."""
        found = Statistics.fit(actions)
        self.mean.copy_(torch.from_numpy(found.mean))
        self.std.copy_(torch.from_numpy(found.std))

    def forward(self, actions: Tensor) -> Tensor:
        """Normalised blocks."""
        return (actions - self.mean) / self.std


class Background(nn.Module):
    """Pictures as differences from the mean training picture, which a fixed camera hardly leaves.

    What stands still then costs an autoencoder neither codes nor capacity.
    """

    mean: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(*sides(size), 3))

    def fit(self, windows: FrameWindows, count: int = 200) -> None:
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
