"""Predict what is hidden from what is seen: the parts that such objectives share.

A clip is two single frames one block apart, each encoded alone, as planning will encode them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.core.config import Fraction, NonNegative, Within, check_fields
from robot_wm.core.errors import ConfigError
from robot_wm.encoders.transformer import Transformer, position_table
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.pretraining.ema_targets import CenteredTargets, ema_momentum
from robot_wm.pretraining.objectives import Objective
from robot_wm.training.ema import average
from robot_wm.training.regularizers import centered, variance_covariance

HEAD = 32  # channels of an attention head


class MaskedPredictor(nn.Module):
    """A narrow transformer over seen tokens and mask tokens, thrown away afterwards.

    Args:
        encoder: of the tokens that are seen.
        times: frames whose tokens it takes together.
        width, depth: of the transformer.
        outputs: numbers per hidden token.
        condition: size of what it is told of the whole picture, 0 for nothing; it enters the mask
            tokens through three layers (IWM's feature conditioning).

    Raises:
        ConfigError: a width that heads or positions do not divide.
    """

    table: Tensor

    def __init__(
        self,
        encoder: EncoderConfig,
        times: int,
        width: int,
        depth: int,
        outputs: int,
        condition: int = 0,
    ) -> None:
        super().__init__()
        heads = max(1, width // HEAD)
        if width % 4 or width % heads:
            raise ConfigError(
                f"a predictor of width {width}", f"a multiple of 4, above {HEAD} one of {HEAD}",
                "change objective.options",
            )  # fmt: skip
        self.enter = nn.Linear(encoder.width, width)
        self.mask = nn.Parameter(torch.zeros(width))
        self.tell = nn.Sequential(
            nn.Linear(width + condition, width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, width),
        ) if condition else None  # fmt: skip
        self.body = Transformer(width, depth, heads, 4)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, outputs)
        self.register_buffer("table", position_table(times, encoder.grid, width), persistent=False)

    def forward(
        self, seen: Tensor, where: Tensor, hidden: Tensor, told: Tensor | None = None
    ) -> Tensor:
        """Tokens ``[B, K, D]`` at places ``[B, K]`` and a condition ``[B, C]`` to ``[B, M, O]``."""
        mask = self.mask.expand(*hidden.shape, -1)
        if self.tell is not None:
            assert told is not None  # a conditioned predictor is always told
            mask = self.tell(torch.cat([mask, told[:, None].expand(-1, mask.shape[1], -1)], -1))
        x = torch.cat([self.enter(seen), mask], dim=1)
        x = self.body(x, self.table[torch.cat([where, hidden], dim=1)])
        found: Tensor = self.leave(self.norm(x[:, where.shape[1] :]))
        return found


@dataclass(frozen=True)
class LatentPredictionConfig:
    """Options of every objective that predicts the moving-average encoder's tokens.

    Attributes:
        predictor_width, predictor_depth: of the predictor.
        centering, centering_momentum: of the targets, see :class:`CenteredTargets`.
        variance_weight, covariance_weight: of the regulariser on context tokens (0: off).
        ema_start, ema_end: momentum of the target encoder, along a half cosine; 0 switches the
            average off, so that the target is the encoder itself without gradient.
    """

    predictor_width: Annotated[int, Within(4, 4096)] = 64
    predictor_depth: Annotated[int, Within(1, 256)] = 3
    centering: bool = True
    centering_momentum: Annotated[float, Within(0, below=1)] = 0.98
    variance_weight: NonNegative = 0.0
    covariance_weight: NonNegative = 0.0
    ema_start: Fraction = 0.98
    ema_end: Fraction = 0.999

    def __post_init__(self) -> None:
        check_fields(self, "objective.options")


class LatentPrediction(Objective):
    """Context encoder, predictor and target encoder; a subclass says what is hidden and how far.

    The target encoder is shipped: it is what every target came from.

    Args:
        config: see :class:`LatentPredictionConfig`.
        encoder, scenes: as every objective gets them.
        times: frames predicted together.
        condition: see :class:`MaskedPredictor`.
    """

    def __init__(
        self,
        config: LatentPredictionConfig,
        encoder: EncoderConfig,
        scenes: int,
        times: int,
        condition: int = 0,
    ) -> None:
        super().__init__()
        c = self.config = config
        self.shape, self.scenes = encoder, scenes
        self.context = VideoEncoder(encoder)
        self.target = copy.deepcopy(self.context).requires_grad_(False)
        self.predictor = MaskedPredictor(
            encoder, times, c.predictor_width, c.predictor_depth, encoder.width, condition
        )
        self.normal = CenteredTargets(
            scenes, encoder.tokens, encoder.width, c.centering_momentum, c.centering
        )

    @property
    def encoder(self) -> VideoEncoder:
        """The moving average."""
        return self.target

    @torch.no_grad()
    def targets(self, frames: Tensor, scene: Tensor) -> Tensor:
        """Pictures ``[B, T, H, W, 3]``, each alone, to targets ``[B, T·P, D]``."""
        tokens = self.target(frames.flatten(0, 1)[:, None])
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        tokens = tokens.view(len(scene), -1, self.shape.tokens, tokens.shape[-1])
        found: Tensor = self.normal(tokens, scene)
        return found.flatten(1, 2)

    def regularized(
        self, parts: dict[str, Tensor], seen: Tensor, where: Tensor, scene: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """``parts["masked"]`` with the spread of context tokens ``[B, K, D]``; numbers to log.

        Tokens are centred per scene and position: a hinge on the others is met by position alone.
        """
        c, count = self.config, self.shape.tokens
        groups = (where % count + scene[:, None] * count).flatten()
        spread = centered(seen.flatten(0, 1), groups, self.scenes * count)
        parts["variance"], parts["covariance"] = variance_covariance(*spread)
        total = parts["masked"]
        if c.variance_weight or c.covariance_weight:
            total = total + c.variance_weight * parts["variance"]
            total = total + c.covariance_weight * parts["covariance"]
        numbers = {name: float(value.detach()) for name, value in parts.items()}
        return total, {**numbers, "loss": float(total.detach()), "target_std": self.normal.std}

    def after_step(self, progress: float) -> None:
        """Target ← m·target + (1−m)·context."""
        momentum = ema_momentum(self.config.ema_start, self.config.ema_end, progress)
        average(self.target, self.context, momentum)
