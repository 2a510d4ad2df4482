"""What decides a training of the video model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, Fraction, NonNegative, Within
from robot_wm.world_models.config import Width
from robot_wm.world_models.pixels.config import GeneratorConfig, Stage


@dataclass(frozen=True)
class SoraConfig(GeneratorConfig):
    """A latent of frames, then a diffusion transformer over time.

    Attributes:
        patch: side of what is one token, in cells of the latent, which are 8 pixels.
        channels: of the autoencoder's convolutions.
        latent: numbers of a cell.
        kl: weight of the latent's divergence from N(0, I).
        autoencoder_steps, autoencoder_batch: of the first stage: optimizer steps, windows a step.
        steps: of the transformer.
        action_dropout: how often a block is withheld.
        euler_steps: from noise to frames, when planning.
    """

    patch: Width = 2
    channels: Annotated[int, Within(8, 4096)] = 64
    latent: Width = 4
    kl: NonNegative = 1e-6
    autoencoder_steps: Count = 2_000
    autoencoder_batch: Count = 8
    steps: Count = 5_000
    window: Annotated[int, Within(3, 4096)] = 7
    batch: Count = 16
    action_dropout: Fraction = 0.1
    euler_steps: Annotated[int, Within(1, 1000)] = 4
    ema: Annotated[float, Within(0, below=1)] = 0.999

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in their order."""
        return {
            "autoencoder": Stage(self.autoencoder_steps, self.autoencoder_batch),
            "dynamics": Stage(self.steps, self.batch),
        }
