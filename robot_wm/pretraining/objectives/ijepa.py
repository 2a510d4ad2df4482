"""I-JEPA (arXiv:2301.08243): predict the moving-average encoder's tokens of four hidden blocks.

Single frames: the control for whether pairs of frames add anything, since velocity is invisible to
it. Beside the paper's recipe (smooth L1, LayerNormed targets) the targets are centred, without
which a fixed camera lets position alone predict most patches, and the context tokens are kept apart
by VICReg's terms (as arXiv:2410.19560 does), without which they end up on a few directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.config import NonNegative, Within
from robot_wm.core.errors import ConfigError
from robot_wm.encoders.transformer import take
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.masking import BlockMask, target_blocks
from robot_wm.pretraining.objectives import Batch, strict
from robot_wm.pretraining.objectives.masked_prediction import (
    LatentPrediction,
    LatentPredictionConfig,
)

Share = Annotated[float, Within(above=0, high=1)]


@dataclass(frozen=True)
class BlockConfig(LatentPredictionConfig):
    """Options of I-JEPA.

    Attributes:
        targets: blocks to predict.
        target_area: range of the share of the grid that each covers.
        context_area: the same of the context, before the targets are taken away.

    Raises:
        ConfigError: a range that is none.
    """

    variance_weight: NonNegative = 1.0
    covariance_weight: NonNegative = 0.04
    targets: Annotated[int, Within(1, 64)] = 4
    target_area: tuple[Share, ...] = (0.15, 0.2)
    context_area: tuple[Share, ...] = (0.85, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("target_area", "context_area"):
            area = getattr(self, name)
            if len(area) != 2 or area[0] > area[1]:
                raise ConfigError(f"{name} = {list(area)}", "[least, most]", "order two shares")


class IJEPA(LatentPrediction):
    """The objective; see the module's text. Options: :class:`BlockConfig`."""

    options: type[BlockConfig] = BlockConfig
    condition = 0  # numbers that the predictor is told of the picture

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        config = strict(self.options, options)
        super().__init__(config, encoder, scenes, times=1, condition=self.condition)
        self.config: BlockConfig = config
        self._masks(np.random.default_rng(0), 16)  # told now if impossible

    def _masks(self, rng: np.random.Generator, batch: int) -> BlockMask:
        c, least = self.config, min(10, self.shape.tokens // 4)
        area, context = (c.target_area[0], c.target_area[1]), (c.context_area[0], c.context_area[1])
        return target_blocks(
            rng, batch, self.shape.grid, c.targets, area, context=context, min_context=least
        )

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """See :class:`Objective`; both frames of a clip are pictures of their own."""
        frames, scene = batch["frames"].flatten(0, 1), batch["scene"].repeat_interleave(2)
        seen, where, predicted, wanted = self.predict(frames, frames, scene, rng)
        parts = {"masked": F.smooth_l1_loss(predicted, wanted)}
        return self.regularized(parts, seen, where, scene)

    def predict(
        self,
        source: Tensor,
        target: Tensor,
        scene: Tensor,
        rng: np.random.Generator,
        told: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Hide blocks of ``source`` and predict those of ``target``, both ``[N, H, W, 3]``.

        Returns:
            Context tokens ``[N, K, D]`` and their places; predictions and targets
            ``[N·targets, M, D]``.
        """
        mask = self._masks(rng, len(source))
        where, blocks = (torch.from_numpy(side).to(source.device) for side in mask)
        count = blocks.shape[1]
        seen = self.context(source[:, None], where)
        goal = self.targets(target[:, None], scene)
        told = None if told is None else told.repeat_interleave(count, dim=0)
        predicted = self.predictor(
            seen.repeat_interleave(count, dim=0), where.repeat_interleave(count, dim=0),
            blocks.flatten(0, 1), told,
        )  # fmt: skip
        wanted = take(goal, blocks.flatten(1)).view(-1, blocks.shape[2], goal.shape[-1])
        return seen, where, predicted, wanted
