"""Targets of latent prediction: a moving average of the encoder, kept informative."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def ema_momentum(start: float, end: float, progress: float) -> float:
    """Momentum of the target encoder at ``progress`` in [0, 1], along a half cosine."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2


class CenteredTargets(nn.Module):
    """Tokens centred per scene and position by a running mean, in units of a running global std.

    A constant earns nothing then, so a map from position to a constant predicts nothing. Statistics
    move in training mode only.

    Args:
        scenes, tokens, width: kinds of scenes, tokens of a frame, size of a token.
        momentum: of the running mean and scale.
        centering: whether the mean is subtracted; the scale is divided by in any case.
    """

    mean: Tensor
    square: Tensor
    count: Tensor

    def __init__(
        self, scenes: int, tokens: int, width: int, momentum: float, centering: bool
    ) -> None:
        super().__init__()
        self.scenes, self.momentum, self.centering = scenes, momentum, centering
        self.register_buffer("mean", torch.zeros(scenes, tokens, width))
        self.register_buffer("square", torch.ones(()))
        # Batches seen per scene: the running means start as the first batch's, not as zero.
        self.register_buffer("count", torch.zeros(scenes))

    @property
    def std(self) -> float:
        """The running global deviation."""
        return math.sqrt(float(self.square))

    def forward(self, tokens: Tensor, scene: Tensor) -> Tensor:
        """Tokens ``[B, T, P, D]`` of scenes ``[B]`` to targets of the same shape."""
        if self.training:
            self._track(tokens, scene)
        return self.in_units(tokens, scene)

    def in_units(self, tokens: Tensor, scene: Tensor) -> Tensor:
        """The same by the statistics as they are."""
        if self.centering:
            tokens = tokens - self.mean.index_select(0, scene)[:, None]
        return tokens / (self.square.sqrt() + 1e-6)

    def _track(self, tokens: Tensor, scene: Tensor) -> None:
        """μ ← m·μ + (1−m)·batch mean, per scene; the same for the global mean square."""
        clips = torch.bincount(scene, minlength=self.scenes)
        fresh = torch.zeros_like(self.mean).index_add(0, scene, tokens.mean(1))
        fresh = fresh / clips.clamp(min=1)[:, None, None]
        slow = (self.count / (self.count + 1)).clamp(max=self.momentum)
        slow = torch.where(clips > 0, slow, torch.ones_like(slow))[:, None, None]
        first = float(self.count.max())
        self.mean.copy_(slow * self.mean + (1 - slow) * fresh)
        self.count += clips > 0
        rest = tokens - self.mean.index_select(0, scene)[:, None] if self.centering else tokens
        self.square.lerp_(rest.square().mean(), 1 - min(self.momentum, first / (first + 1)))
