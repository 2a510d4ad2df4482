"""Somebody else's pretraining objective: tokens that tell their own patch's mean brightness."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.pretraining.objectives import Objective, strict


@dataclass(frozen=True)
class BrightnessConfig:
    weight: float = 1.0


class Brightness(Objective):
    """Linear read-out of every patch's brightness from its token."""

    def __init__(
        self, encoder: EncoderConfig, options, scenes: int, action_dim: int, control_dim: int
    ) -> None:
        super().__init__()
        self.config, self._encoder = strict(BrightnessConfig, options), VideoEncoder(encoder)
        self.read = nn.Linear(encoder.width, 1)

    @property
    def encoder(self) -> VideoEncoder:
        return self._encoder

    def loss(self, batch, rng):
        frames, patch = batch["frames"][:, :1], self._encoder.config.patch
        gray = frames[:, 0].float().mean(dim=-1) / 255
        wanted = nn.functional.avg_pool2d(gray[:, None], patch).flatten(1)
        read = self.read(self._encoder(frames)).squeeze(-1)
        loss = self.config.weight * (read - wanted).square().mean()
        return loss, {"loss": float(loss.detach())}
