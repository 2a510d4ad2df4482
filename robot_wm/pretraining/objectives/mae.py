"""MAE (arXiv:2111.06377): rebuild the pixels of hidden patches; the generative opponent.

Same encoder, same pictures; a small decoder that is thrown away. Pixels are normalised per patch,
or flat backgrounds would be all that counts; the variance gets 1e-3 added (of pixels in [0, 1]),
where the paper has 1e-6, since flat patches of a rendered scene would otherwise be amplified noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.config import Within, check_fields
from robot_wm.encoders.transformer import take
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.pretraining.masking import random_tokens
from robot_wm.pretraining.objectives import Batch, Objective, strict
from robot_wm.pretraining.objectives.masked_prediction import MaskedPredictor

FLAT = 1e-3


@dataclass(frozen=True)
class MAEConfig:
    """Options of MAE and VideoMAE.

    Attributes:
        decoder_width, decoder_depth: of the decoder.
        ratio: share of hidden patches.
    """

    decoder_width: Annotated[int, Within(4, 4096)] = 64
    decoder_depth: Annotated[int, Within(1, 256)] = 3
    ratio: Annotated[float, Within(above=0, below=1)] = 0.75

    def __post_init__(self) -> None:
        check_fields(self, "objective.options")


def normalized_patches(frames: Tensor, patch: int) -> Tensor:
    """Pictures uint8 ``[N, H, W, 3]`` to patches ``[N, P, 3·patch²]``, each (x − mean)/√(var + ε).

    Row by row, as the encoder's tokens are.
    """
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    cut = F.unfold(pixels, patch, stride=patch).transpose(1, 2)
    variance, mean = torch.var_mean(cut, dim=-1, correction=0, keepdim=True)
    return (cut - mean) / (variance + FLAT).sqrt()


class MAE(Objective):
    """The objective; see the module's text. Options: :class:`MAEConfig`."""

    options: type[MAEConfig] = MAEConfig
    times = 1  # frames that are decoded together

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        super().__init__()
        c = self.config = strict(self.options, options)
        self.shape, self._encoder = encoder, VideoEncoder(encoder)
        self.decoder = MaskedPredictor(
            encoder, self.times, c.decoder_width, c.decoder_depth, 3 * encoder.patch**2
        )
        random_tokens(np.random.default_rng(0), 1, encoder.tokens, c.ratio)  # told if impossible

    @property
    def encoder(self) -> VideoEncoder:
        """The encoder that learns; there is no other."""
        return self._encoder

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """See :class:`Objective`. ``explained`` is 0 for predicting every patch's mean colour.

        The mask is one of positions: frames that are decoded together share it (a tube).
        """
        frames, count, t = batch["frames"].flatten(0, 1), self.shape.tokens, self.times
        mask = random_tokens(rng, len(frames) // t, count, self.config.ratio)
        keep, hide = (torch.from_numpy(side).to(frames.device) for side in mask)
        tokens = self._encoder(frames[:, None], keep.repeat_interleave(t, dim=0))
        seen = tokens.reshape(len(keep), -1, tokens.shape[-1])
        shift = torch.arange(t, device=frames.device)[:, None] * count
        where, hidden = ((i[:, None] + shift).flatten(1) for i in (keep, hide))
        pixels = normalized_patches(frames, self.shape.patch)
        wanted = take(pixels.reshape(len(keep), t * count, -1), hidden)
        loss = F.mse_loss(self.decoder(seen, where, hidden), wanted)
        value = float(loss.detach())
        explained = 1 - value / max(float(wanted.square().mean()), 1e-9)
        return loss, {"loss": value, "explained": explained}
