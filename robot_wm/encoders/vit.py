"""The video encoder: tubelets to tokens, then a small pre-norm transformer; frozen once trained.

A V-JEPA encoder (arXiv:2404.08471) eats pairs of frames. A still image enters as a repeated pair,
and since the first layer is linear, summing the two time halves of its kernel gives exactly the
same tokens for half the work. Planning encodes every frame that way, alone.

Tokens are kept free of what a fixed camera would let them collapse to: the image's mean colour is
taken away, positions steer attention but are never added to a token, every block starts close to
the identity, and no final norm rescales a token that holds little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.core.config import Within, check_fields
from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.images import Sides, Size, sides, spelled
from robot_wm.encoders.contrast import CHANNELS, contrast
from robot_wm.encoders.transformer import Transformer, position_table, take


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder.

    Attributes:
        image_size: of the pictures [px], a number or (height, width).
        patch: side of a patch [px].
        tubelet: frames per token in time.
        width, depth, heads, mlp_ratio: of the transformer; depth counts its blocks.
        pixel_scale: pixels in [0, 255] lose the clip's mean colour (of each channel) and are
            divided by this [grey levels], inside the model.
        sees: ``color``, or ``contrast`` in its place (:mod:`robot_wm.encoders.contrast`), for which
            ``pixel_scale`` does not count.

    Raises:
        ConfigError: sizes that do not divide.
    """

    image_size: Annotated[Size, Sides(4, 1024)] = 64
    patch: Annotated[int, Within(1, 1024)] = 8
    tubelet: Annotated[int, Within(1, 64)] = 2
    width: Annotated[int, Within(1, 4096)] = 128
    depth: Annotated[int, Within(1, 256)] = 2
    heads: Annotated[int, Within(1, 4096)] = 4
    mlp_ratio: Annotated[int, Within(1, 64)] = 4
    pixel_scale: Annotated[float, Within(above=0, high=1e6)] = 64.0
    sees: Literal["color", "contrast"] = "color"

    def __post_init__(self) -> None:
        check_fields(self, "encoder")
        cut = [side % self.patch for side in sides(self.image_size)]
        if any(cut) or self.width % self.heads or self.width % 4:
            raise ConfigError(
                f"image {spelled(self.image_size)}, patch {self.patch}, width {self.width}, "
                f"heads {self.heads}",
                "patch divides both sides of image_size; heads and 4 divide width",
                "change the encoder's sizes",
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = sides(self.image_size)
        return height // self.patch, width // self.patch

    @property
    def channels(self) -> int:
        """Numbers of a pixel."""
        return 3 if self.sees == "color" else CHANNELS

    @property
    def tokens(self) -> int:
        """``P``: tokens of one frame or tubelet."""
        return math.prod(self.grid)


class VideoEncoder(nn.Module):
    """Pixels to tokens: a stem of two layers on each patch (embed, GELU, mix), then blocks.

    Weights are torch's defaults, from its global generator: seed it around the call.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.tubelet * config.patch**2 * config.channels, config.width)
        self.mix = nn.Linear(config.width, config.width)
        self.body = Transformer(config.width, config.depth, config.heads, config.mlp_ratio)
        # Fixed, rebuilt from the configuration: never part of the weights.
        self.register_buffer(
            "positions", position_table(1, config.grid, config.width), persistent=False
        )

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens of clips.

        Args:
            pixels: uint8 or float in [0, 255], ``[B, T, H, W, 3]``; ``T`` is 1 (a still image, as
                a repeated pair) or a multiple of the tubelet.
            keep: int64 ``[B, K]``, the tokens to see; the others are dropped before the blocks.

        Returns:
            float32 ``[B, P, D]`` (or ``[B, K, D]``), in the order (time, y, x) or that of ``keep``.
        """
        patches, times = self._patches(pixels)
        table = self._positions(times)
        if keep is not None:
            patches, table = take(patches, keep), table[keep]
        weight = self.embed.weight
        if pixels.shape[1] == 1:
            weight = weight.view(len(weight), self.config.tubelet, -1).sum(1)
        tokens = self.mix(F.gelu(F.linear(patches, weight, self.embed.bias)))
        return self.body(tokens, table)

    def _patches(self, pixels: Tensor) -> tuple[Tensor, int]:
        c = self.config
        batch, frames, height, width, _ = pixels.shape
        wanted, (rows, columns) = sides(c.image_size), c.grid
        if (height, width) != wanted or (frames > 1 and frames % c.tubelet):
            raise InputError(
                f"pixels of shape {tuple(pixels.shape)}",
                f"[B, 1 or a multiple of {c.tubelet}, {wanted[0]}, {wanted[1]}, 3]",
                "render at the size the encoder was trained on",
            )
        depth = 1 if frames == 1 else c.tubelet
        times = frames // depth
        values = self._seen(pixels)
        cut = values.reshape(batch, times, depth, rows, c.patch, columns, c.patch, c.channels)
        cut = cut.permute(0, 1, 3, 5, 2, 4, 6, 7)
        return cut.reshape(batch, times * c.tokens, depth * c.patch**2 * c.channels), times

    def _seen(self, pixels: Tensor) -> Tensor:
        """What the stem gets of clips ``[B, T, H, W, 3]``, ``[B, T, H, W, C]``."""
        if self.config.sees == "contrast":
            return contrast(pixels.flatten(0, 1)).view(*pixels.shape[:-1], CHANNELS)
        # Without the mean colour a plain background is near zero and objects stand out.
        values = pixels.to(self.embed.weight.dtype)
        return (values - values.mean(dim=(1, 2, 3), keepdim=True)) / self.config.pixel_scale

    def _positions(self, times: int) -> Tensor:
        positions = self.get_buffer("positions")
        if times == 1:
            return positions
        return position_table(times, self.config.grid, self.config.width).to(positions)

    @torch.no_grad()
    def encode_frames(self, frames: np.ndarray | Tensor, batch: int = 0) -> Tensor:
        """Each frame alone: uint8 ``[N, H, W, 3]`` to float32 ``[N, P, D]``, without gradients.

        Args:
            frames: see above.
            batch: frames at a time; 0 chooses by the device.
        """
        device = self.embed.weight.device
        # Small batches stay in a processor's cache: 1.4 times as many frames a second as 256.
        batch = batch or (32 if device.type == "cpu" else 1024)
        pixels = frames if isinstance(frames, Tensor) else torch.from_numpy(np.array(frames))
        parts = [self(part[:, None].to(device)) for part in pixels.split(batch)]
        return torch.cat(parts)
