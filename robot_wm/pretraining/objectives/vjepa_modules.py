"""What the V-JEPA objective throws away after pretraining: its options, predictor and heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.core.config import Fraction, NonNegative, Within, check_fields
from robot_wm.core.errors import ConfigError
from robot_wm.encoders.transformer import take
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.training.losses import contrast


@dataclass(frozen=True)
class VJEPAConfig:
    """Options of the objective; the defaults are the recipe that worked, the rest ablations.

    Attributes:
        predictor_width, predictor_depth: of the predictor.
        masks: ``future+random`` (each in half of the batches) or ``tubes`` (V-JEPA's multi-block).
        visible: tokens of frame 2 shown in future-frame batches.
        ratio: share of hidden tokens in random batches.
        tube_blocks, tube_area: the multi-block mask.
        dense_weight, dense_tokens: loss on that many visible tokens (weight 0: off).
        inverse_weight, inverse_width, inverse_hidden: the inverse-dynamics head (weight 0: off);
            used in half of the batches, the future-frame ones.
        contrast_weight, contrast_size: InfoNCE of a small embedding of the two whole frames, in the
            same batches as the inverse dynamics (weight 0: off).
        invariance_weight: weight of the difference between a clip's tokens and the targets of the
            same states in their source's look, ``batch["twin"]``, which are then what is predicted,
            too (0, or no twins: off). In the same batches as the inverse dynamics.
        action_token: whether the predictor is told the action block between the frames.
        motion_weight: extra loss weight of patches in which a pixel changed between the frames by
            more than 8 of 255 grey levels.
        variance_weight, covariance_weight: regulariser on context tokens.
        centering: centre targets per scene and token position.
        centering_momentum: of the running mean and scale of the targets.
        ema_start, ema_end: momentum of the target encoder, along a half cosine.

    Raises:
        ConfigError: an unknown mask.
    """

    predictor_width: Annotated[int, Within(1, 4096)] = 96
    predictor_depth: Annotated[int, Within(1, 256)] = 4
    masks: str = "future+random"
    visible: Annotated[int, Within(1, 4096)] = 8
    ratio: Annotated[float, Within(above=0, below=1)] = 0.5
    tube_blocks: Annotated[int, Within(1, 4096)] = 8
    tube_area: Annotated[float, Within(above=0, below=1)] = 0.15
    dense_weight: NonNegative = 0.5
    dense_tokens: Annotated[int, Within(1, 4096)] = 16
    inverse_weight: NonNegative = 1.0
    inverse_width: Annotated[int, Within(1, 4096)] = 8
    inverse_hidden: Annotated[int, Within(1, 4096)] = 256
    contrast_weight: NonNegative = 0.25
    contrast_size: Annotated[int, Within(1, 4096)] = 24
    invariance_weight: NonNegative = 0.0
    action_token: bool = True
    motion_weight: NonNegative = 4.0
    variance_weight: NonNegative = 1.0
    covariance_weight: NonNegative = 0.04
    centering: bool = True
    centering_momentum: Annotated[float, Within(0, below=1)] = 0.98
    ema_start: Fraction = 0.98
    ema_end: Fraction = 0.999

    def __post_init__(self) -> None:
        check_fields(self, "objective.options")
        if self.masks not in ("future+random", "tubes"):
            raise ConfigError(f"masks {self.masks!r}", "future+random or tubes", "choose one")


class ContextTokens(NamedTuple):
    """Context tokens ``[B, K, D]``; positions of context and hidden tokens in the clip's 2P."""

    tokens: Tensor
    where: Tensor
    hidden: Tensor


class GridBlock(nn.Module):
    """Residual 3x3 convolution over the token grid, scaled and shifted by the action (FiLM)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.film = nn.Linear(width, 2 * width)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Grid ``[B, W, rows, columns]`` and condition ``[B, W]`` to a grid."""
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        x_normal = self.norm(x) * (1 + scale) + shift
        return x + self.out(F.gelu(self.near(x_normal)))


class TokenPredictor(nn.Module):
    """Context tokens and places in, tokens at those places out, jointly over both frames.

    A small convolutional network over the token grid, where V-JEPA has a transformer: the two
    frames meet at every place from the first step on, while attention needs thousands of steps to
    find out that the same place in the other frame is where to look. It is thrown away afterwards.
    """

    def __init__(
        self, config: VJEPAConfig, encoder: EncoderConfig, scenes: int, actions: int
    ) -> None:
        super().__init__()
        width = config.predictor_width
        self.grid, self.tokens, self.scenes = encoder.grid, encoder.tokens, scenes
        # One map per scene: the same numbers mean other things to another robot. Without actions
        # the scene alone conditions.
        self.uses_action = config.action_token
        self.act = nn.Linear(scenes * (actions + 1), width)
        self.mask = nn.Parameter(torch.zeros(encoder.width))
        self.enter = nn.Conv2d(2 * (encoder.width + 1), width, 1)
        self.places = nn.Parameter(torch.zeros(width, *encoder.grid))
        self.blocks = nn.ModuleList(GridBlock(width) for _ in range(config.predictor_depth))
        self.norm = nn.GroupNorm(1, width)
        self.leave = nn.Conv2d(width, 2 * encoder.width, 1)
        # Visible tokens leave through their own head (V-JEPA 2.1), so copying is learned apart.
        self.leave_visible = nn.Conv2d(width, 2 * encoder.width, 1)

    def forward(
        self, seen: ContextTokens, dense: Tensor, actions: Tensor, scene: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predictions at hidden places ``[B, M, D]`` and at context rows ``dense`` [B, V, D]."""
        batch, width = len(scene), seen.tokens.shape[-1]
        count = 2 * self.tokens
        index = seen.where[..., None].expand(-1, -1, width)
        filled = self.mask.expand(batch, count, width).scatter(1, index, seen.tokens)
        known = torch.zeros(batch, count, 1, device=filled.device).scatter(
            1, seen.where[..., None], 1.0
        )
        x = self.enter(self._to_grid(torch.cat([filled, known], dim=-1))) + self.places
        given = actions if self.uses_action else torch.zeros_like(actions)
        given = torch.cat([given, torch.ones_like(given[:, :1])], dim=1)
        per_scene = F.one_hot(scene, self.scenes).to(given)[:, :, None] * given[:, None]
        condition = F.gelu(self.act(per_scene.flatten(1)))
        for block in self.blocks:
            x = block(x, condition)
        x = self.norm(x)
        visible = take(self._to_tokens(self.leave_visible(x)), seen.where.gather(1, dense))
        return take(self._to_tokens(self.leave(x)), seen.hidden), visible

    def _to_grid(self, tokens: Tensor) -> Tensor:
        """``[B, 2P, C]`` to ``[B, 2C, rows, columns]``: both frames beside in the channels."""
        batch, _, width = tokens.shape
        cut = tokens.view(batch, 2, *self.grid, width).permute(0, 1, 4, 2, 3)
        return cut.reshape(batch, 2 * width, *self.grid)

    def _to_tokens(self, x: Tensor) -> Tensor:
        """Inverse of :meth:`_to_grid`."""
        batch, channels = x.shape[:2]
        cut = x.view(batch, 2, channels // 2, self.tokens).transpose(2, 3)
        return cut.reshape(batch, 2 * self.tokens, channels // 2)


class InverseDynamics(nn.Module):
    """The summed action between two frames, from all their tokens; one output head per scene."""

    def __init__(self, config: VJEPAConfig, encoder: EncoderConfig, scenes: int, actions: int):
        super().__init__()
        self.scenes = scenes
        self.reduce = nn.Linear(encoder.width, config.inverse_width)
        self.hidden = nn.Linear(2 * encoder.tokens * config.inverse_width, config.inverse_hidden)
        self.heads = nn.Linear(config.inverse_hidden, scenes * actions)

    def forward(self, pair: Tensor, scene: Tensor) -> Tensor:
        """Tokens ``[B, 2P, D]`` and scene ``[B]`` to normalised summed actions ``[B, C]``."""
        hidden = F.gelu(self.hidden(self.reduce(pair).flatten(1)))
        every = self.heads(hidden).view(len(scene), self.scenes, -1)
        return every[torch.arange(len(scene), device=scene.device), scene]


class Contrast(nn.Module):
    """A small embedding of one frame, in which frames one block apart should be neighbours.

    What stays from one block to the next is the pose of what the robot is not touching; to place it
    finely is all that tells two frames of one episode apart. The other terms ask for it only where
    its patches are hidden.
    """

    def __init__(self, config: VJEPAConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.reduce = nn.Linear(encoder.width, config.inverse_width)
        self.hidden = nn.Linear(encoder.tokens * config.inverse_width, config.inverse_hidden)
        self.out = nn.Linear(config.inverse_hidden, config.contrast_size)
        self.log_sharpness = nn.Parameter(torch.zeros(()))

    def forward(self, pair: Tensor, appearance_id: Tensor, clip: Tensor) -> Tensor:
        """Loss of tokens ``[B, 2P, D]``; only clips of one ``look [B]`` are compared."""
        now, later = (self._embed(tokens) for tokens in pair.chunk(2, dim=1))
        apart = (appearance_id[:, None] == appearance_id) & (clip[:, None] != clip)
        return contrast(now, later, apart, self.log_sharpness)

    def _embed(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.out(F.gelu(self.hidden(self.reduce(tokens).flatten(1))))
        return embedded
