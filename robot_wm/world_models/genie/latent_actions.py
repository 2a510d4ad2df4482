"""The latent action model: what was done, in one of a few codes, from pictures without labels.

An encoder looks at two consecutive frames and those before, and must say in one code what happened.
A decoder rebuilds the later frame from the earlier ones and that code alone: whatever the code does
not say, the decoder cannot know (arXiv:2402.15391, section 2.1). Small, it draws what changes.

What is quantised is standardised first. All transitions look nearly alike to a fresh encoder; their
code would be the same, would tell the decoder nothing, and would stay so. For the same reason the
encoder is shown each frame with its difference from the one before, and its branches start at 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.core.images import Size
from robot_wm.training.losses import moving
from robot_wm.world_models.genie.quantizer import VectorQuantizer
from robot_wm.world_models.pixels.config import grid_of
from robot_wm.world_models.pixels.parts import Standardize
from robot_wm.world_models.pixels.spacetime import SpaceTime, patches, pictures


class LatentActions(nn.Module):
    """Codes of what leads from each frame to the next.

    Args:
        size, patch: of the pictures and of their patches [px].
        codes, code_width: of the codebook.
        width, depth, heads: of each of the two transformers.
        lags: frames that each frame sees beside itself.
        motion: see :func:`robot_wm.training.losses.moving`.
    """

    def __init__(
        self, size: Size, patch: int, codes: int, code_width: int, width: int, depth: int,
        heads: int, lags: int, motion: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.patch, self.motion = size, patch, motion
        grid, pixels = grid_of(size, patch), patch**2 * 3
        self.see, self.to_code = nn.Linear(2 * pixels, width), nn.Linear(width, code_width)
        self.encoder = SpaceTime(width, depth, heads, grid, lags, scale=1.0)
        self.standardize = Standardize(code_width)
        self.quantizer = VectorQuantizer(codes, code_width)
        self.recall, self.act = nn.Linear(pixels, width), nn.Linear(code_width, width)
        self.decoder = SpaceTime(width, depth, heads, grid, lags, scale=1.0)
        self.change = nn.Linear(width, pixels)

    def _rows(self, frames: Tensor) -> Tensor:
        return patches(frames.float() / 255 - 0.5, self.patch)

    def _vectors(self, rows: Tensor) -> Tensor:
        """What is to be quantised ``[B, T-1, L]``: the mean over each frame but the first."""
        moved = rows - torch.cat([rows[:, :1], rows[:, :-1]], dim=1)
        hidden, _ = self.encoder(self.see(torch.cat([rows, moved], dim=-1)))
        return self.to_code(hidden[:, 1:].mean(dim=2))

    def infer(self, frames: Tensor) -> Tensor:
        """Codes int64 ``[B, T-1]`` of windows uint8 ``[B, T, ...]``."""
        return self.quantizer.nearest(self.standardize(self._vectors(self._rows(frames))))

    def _next(self, rows: Tensor, actions: Tensor) -> Tensor:
        """Patches of the frame after each ``[B, T, P, R]``, of action vectors ``[B, T, L]``."""
        hidden, _ = self.decoder(self.recall(rows) + self.act(actions)[:, :, None])
        return rows + self.change(hidden)

    def predict(self, frames: Tensor, codes: Tensor) -> Tensor:
        """The frame after each, in [0, 1], of frames uint8 ``[B, T, ...]`` and codes ``[B, T]``."""
        rows = self._next(self._rows(frames), self.quantizer.embed(codes))
        return pictures(rows + 0.5, self.size, self.patch)

    def losses(self, frames: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """How badly windows uint8 ``[B, W, ...]`` are continued, and the quantiser's loss."""
        rows = self._rows(frames)
        vectors = self.standardize.learn(self._vectors(rows))
        quantised, loss = self.quantizer.learn(vectors, generator)
        guess = torch.cat([rows[:, :1], self._next(rows[:, :-1], quantised)], dim=1)
        return {"next": 100 * moving(guess, rows, self.motion), "codes": loss}
