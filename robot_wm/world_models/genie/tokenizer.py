"""The video tokenizer: pictures to codes, one for every patch, and back.

A spatial transformer looks at each frame alone: a goal is one frame, and must get the codes that
the same frame gets within a history (in Genie the encoder, too, looks back). The decoder is a
causal space-time transformer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.core.images import Size
from robot_wm.encoders.transformer import Transformer, position_table
from robot_wm.training.losses import moving
from robot_wm.world_models.genie.quantizer import VectorQuantizer
from robot_wm.world_models.pixels.config import grid_of
from robot_wm.world_models.pixels.parts import Background
from robot_wm.world_models.pixels.spacetime import SpaceTime, patches, pictures


class Tokenizer(nn.Module):
    """Codes ``[..., P]`` of pictures.

    Args:
        size: of the pictures [px].
        patch: side of a patch [px].
        codes, code_width: of the codebook.
        width, depth, heads: of each of the two transformers.
        lags: frames that the decoder sees beside the one it draws.
        motion: see :func:`robot_wm.training.losses.moving`.
    """

    def __init__(
        self, size: Size, patch: int, codes: int, code_width: int, width: int, depth: int,
        heads: int, lags: int, motion: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.patch, self.motion = size, patch, motion
        grid, pixels = grid_of(size, patch), patch**2 * 3
        self.background = Background(size)
        self.embed, self.to_code = nn.Linear(pixels, width), nn.Linear(width, code_width)
        self.encoder = Transformer(width, depth, heads, 4)
        self.quantizer = VectorQuantizer(codes, code_width)
        self.from_code, self.draw = nn.Linear(code_width, width), nn.Linear(width, pixels)
        self.decoder = SpaceTime(width, depth, heads, grid, lags)
        self.register_buffer("where", position_table(1, grid, width), persistent=False)

    def _vectors(self, rows: Tensor) -> Tensor:
        """Vectors to be quantised ``[B, P, L]`` of patches ``[B, P, R]``."""
        hidden: Tensor = self.encoder(self.embed(rows), self.get_buffer("where"))
        return self.to_code(hidden)

    def _draw(self, vectors: Tensor) -> Tensor:
        """Patches ``[B, T, P, R]`` of code vectors ``[B, T, P, L]``."""
        return self.draw(self.decoder(self.from_code(vectors))[0])

    def encode(self, frames: Tensor) -> Tensor:
        """Codes int64 ``[B, P]`` of pictures uint8 ``[B, height, width, 3]``."""
        rows = patches(self.background.take(frames), self.patch)
        return self.quantizer.nearest(self._vectors(rows))

    def decode(self, codes: Tensor) -> Tensor:
        """Pictures ``[B, T, height, width, 3]`` of codes ``[B, T, P]``."""
        rows = self._draw(self.quantizer.embed(codes))
        return self.background.add(pictures(rows, self.size, self.patch))

    def losses(self, frames: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """How badly windows uint8 ``[B, W, ...]`` are rebuilt, and the quantiser's loss."""
        rows = patches(self.background.take(frames), self.patch)
        vectors = self._vectors(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        quantised, loss = self.quantizer.learn(vectors, generator)
        # Pixels in units of about their spread, so that both terms are of a size.
        return {"picture": 100 * moving(self._draw(quantised), rows, self.motion), "codes": loss}
