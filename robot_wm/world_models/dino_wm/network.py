"""DINO-WM (Zhou et al., arXiv:2411.04983) over the house's frozen encoder: no projector.

A latent is the whole token grid of a frame, in one long vector. Tokens attend to those of the same
frame and of the frames before; the block of actions is embedded and put beside every token. The
only change to the tokens is one offset per channel and one scale for all, so that the cost is the
squared distance of patch tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from robot_wm.core.config import Within
from robot_wm.core.images import sides
from robot_wm.encoders.base import Encoder
from robot_wm.world_models.causal.config import CausalConfig
from robot_wm.world_models.causal.network import CausalBlock, CausalNetwork, frame_mask


@dataclass(frozen=True)
class DinoWMConfig(CausalConfig):
    """Training of DINO-WM; see :class:`CausalConfig`.

    Attributes:
        action_width: numbers of an embedded action block.
    """

    batch: Annotated[int, Within(2, 10**6)] = 32
    chunk: Annotated[int, Within(1, 2**20)] = 16
    action_width: Annotated[int, Within(1, 4096)] = 16


class DinoWMNetwork(CausalNetwork):
    """The predictor; the encoder is another artefact's.

    Args:
        config: see :class:`DinoWMConfig`.
        encoder: frozen.
        action: ``A``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DinoWMConfig, encoder: Encoder, action: int) -> None:
        super().__init__(action, config.context)
        c = self.config = config
        self.frozen: Any = encoder
        with torch.no_grad():
            height, width = sides(encoder.config.image_size)
            blank = torch.zeros(1, 1, height, width, 3, dtype=torch.uint8)
            self.tokens, self.width = encoder(blank).shape[1:]
        self.register_buffer("mean", torch.zeros(self.width))
        self.register_buffer("std", torch.ones(()))
        self.act = nn.Linear(action, c.action_width)
        self.enter = nn.Linear(self.width + c.action_width, c.width)
        self.places = nn.Parameter(0.02 * torch.randn(self.tokens, c.width))
        self.times = nn.Parameter(0.02 * torch.randn(c.history, 1, c.width))
        self.blocks = nn.ModuleList(CausalBlock(c.width, c.heads) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width)
        self.leave = nn.Linear(c.width, self.width)
        # An untrained predictor copies the frame.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @property
    def latent(self) -> int:
        """``Z``."""
        return self.tokens * self.width

    @property
    def activations(self) -> int:
        """See the base: about sixteen of the predictor's width per token."""
        return 16 * self.context * self.tokens * self.config.width

    def fit(self, tokens: Tensor) -> None:
        """Offset and scale, from tokens of training frames ``[N, P, D]``."""
        flat = tokens.float().flatten(0, 1)
        self.mean.copy_(flat.mean(0))
        self.std.copy_((flat - self.mean).square().mean().sqrt().clamp(min=1e-6))

    def embed(self, images: Tensor) -> Tensor:
        """See the base."""
        return self.latents(self.frozen(images[:, None]))

    def latents(self, rows: Tensor) -> Tensor:
        """Rows are cached tokens ``[N, P, D]``."""
        return ((rows.float() - self.mean) / self.std).flatten(1)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """See the base; what changes is predicted."""
        batch, frames, _ = z.shape
        grid = z.view(batch, frames, self.tokens, self.width)
        told = self.act(self.scale(actions))[:, :, None].expand(-1, -1, self.tokens, -1)
        x = self.enter(torch.cat([grid, told], dim=-1)) + self.places + self.times[:frames]
        x = x.flatten(1, 2)
        mask = frame_mask(frames, self.tokens, z.device)
        for block in self.blocks:
            x = block(x, mask)
        return z + self.leave(self.norm(x)).view(batch, frames, -1)
