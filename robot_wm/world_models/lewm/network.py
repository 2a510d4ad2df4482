"""LeWM's network: a vector of a frame, and its successor given the action (LeWorldModel, 2026).

As in the authors' code (galilai-group/stable-worldmodel): batch norm in the projectors of encoder
and predictor, actions through AdaLN-Zero, gradient through the target, SIGReg per time step. Ours
differs where the house's ViT does: its tokens carry no position, so that instead of a class token
the projector reads all of them side by side, each reduced to a few numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from robot_wm.core.config import NonNegative, Within
from robot_wm.core.images import Size
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.training.regularizers import sigreg
from robot_wm.world_models.causal.config import CausalConfig
from robot_wm.world_models.causal.network import CausalBlock, CausalNetwork, frame_mask
from robot_wm.world_models.config import Width


@dataclass(frozen=True)
class LeWMConfig(CausalConfig):
    """Training of LeWM; see :class:`CausalConfig`.

    Attributes:
        patch, encoder_width, encoder_depth, encoder_heads: of its own ViT.
        reduced: numbers per token that the projector reads.
        hidden: width of the projectors' hidden layer.
        latent: size of the vector.
        sigreg, directions: weight of SIGReg, and its random directions.
    """

    patch: Annotated[int, Within(1, 1024)] = 8
    encoder_width: Width = 128
    encoder_depth: Annotated[int, Within(1, 256)] = 3
    encoder_heads: Width = 4
    reduced: Width = 8
    hidden: Width = 512
    latent: Width = 128
    sigreg: NonNegative = 0.09
    directions: Annotated[int, Within(1, 2**16)] = 1024

    def encoder(self, image_size: Size) -> EncoderConfig:
        """Shape of the ViT."""
        return EncoderConfig(
            image_size, self.patch, width=self.encoder_width, depth=self.encoder_depth,
            heads=self.encoder_heads,
        )  # fmt: skip


def projector(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers with batch norm between: ``[N, I]`` to ``[N, O]``; statistics freeze with eval."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )


class LeWMNetwork(CausalNetwork):
    """Encoder, projector and predictor, all trained.

    Args:
        config: see :class:`LeWMConfig`.
        image_size: of the pictures [px].
        action: ``A``.
    """

    def __init__(self, config: LeWMConfig, image_size: Size, action: int) -> None:
        super().__init__(action, config.context)
        c = self.config = config
        shape = c.encoder(image_size)
        self.encoder = VideoEncoder(shape)
        self.reduce = nn.Linear(shape.width, c.reduced)
        self.project = projector(shape.tokens * c.reduced, c.hidden, c.latent)
        self.enter = nn.Linear(c.latent, c.width)
        self.act = nn.Sequential(nn.Linear(action, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.times = nn.Parameter(0.02 * torch.randn(c.history, c.width))
        self.blocks = nn.ModuleList(
            CausalBlock(c.width, c.heads, conditioned=True) for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width)
        self.leave = projector(c.width, c.hidden, c.latent)

    @property
    def latent(self) -> int:
        """``Z``."""
        return self.config.latent

    @property
    def activations(self) -> int:
        """See the base: about sixteen of the predictor's width per frame."""
        return 16 * self.context * self.config.width + self.config.hidden

    def embed(self, images: Tensor) -> Tensor:
        """See the base."""
        z: Tensor = self.project(self.reduce(self.encoder(images[:, None])).flatten(1))
        return z

    def latents(self, rows: Tensor) -> Tensor:
        """Rows are pictures: the encoder learns."""
        return self.embed(rows)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """See the base."""
        batch, frames, _ = z.shape
        x, told = self.enter(z) + self.times[:frames], self.act(self.scale(actions))
        mask = frame_mask(frames, 1, z.device)
        for block in self.blocks:
            x = block(x, mask, told)
        ahead: Tensor = self.leave(self.norm(x).flatten(0, 1))
        return ahead.view(batch, frames, -1)

    def terms(self, z: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """SIGReg over the windows of each time step: neighbouring frames are not independent."""
        c = self.config
        return {"sigreg": c.sigreg * sigreg(z.transpose(0, 1), generator, c.directions)}
