"""V-JEPA as published (arXiv:2404.08471): tube masks, LayerNormed moving-average targets, L1.

None of the repairs of :mod:`robot_wm.pretraining.objectives.vjepa`: on a fixed camera it collapses
to position-only features, which is what it is here to show. Two masks a clip, the same in both
frames: many small blocks and few large ones (of half the grid, not .7: on an 8 x 8 grid those often
leave nothing). Each frame is encoded alone, as in planning; the predictor takes both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.config import Within
from robot_wm.encoders.transformer import take
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.masking import Mask, multiblock
from robot_wm.pretraining.objectives import Batch, strict
from robot_wm.pretraining.objectives.masked_prediction import (
    LatentPrediction,
    LatentPredictionConfig,
)

Share = Annotated[float, Within(above=0, high=1)]


@dataclass(frozen=True)
class PlainVJEPAConfig(LatentPredictionConfig):
    """Options of plain V-JEPA.

    Attributes:
        short_blocks, short_area, long_blocks, long_area: number of blocks of the two masks, and the
            share of the grid that each covers.
    """

    predictor_width: Annotated[int, Within(4, 4096)] = 96
    predictor_depth: Annotated[int, Within(1, 256)] = 4
    centering: bool = False
    short_blocks: Annotated[int, Within(1, 4096)] = 8
    short_area: Share = 0.15
    long_blocks: Annotated[int, Within(1, 4096)] = 2
    long_area: Share = 0.5


class PlainVJEPA(LatentPrediction):
    """The objective; see the module's text. Options: :class:`PlainVJEPAConfig`."""

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        config = strict(PlainVJEPAConfig, options)
        super().__init__(config, encoder, scenes, times=2)
        self.config: PlainVJEPAConfig = config
        self._masks(np.random.default_rng(0), 16)  # told now if impossible

    def _masks(self, rng: np.random.Generator, batch: int) -> list[Mask]:
        c, least = self.config, max(1, self.shape.tokens // 8)
        return [
            multiblock(rng, batch, self.shape.grid, blocks, area, min_visible=least)
            for blocks, area in ((c.short_blocks, c.short_area), (c.long_blocks, c.long_area))
        ]

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """See :class:`Objective`; the mean over both masks, not over all hidden tokens."""
        frames, scene, count = batch["frames"], batch["scene"], self.shape.tokens
        goal, shift = self.targets(frames, scene), torch.tensor([0, count], device=frames.device)
        errors, every, places = [], [], []
        for mask in self._masks(rng, len(frames)):
            keep, hide = (torch.from_numpy(side).to(frames.device) for side in mask)
            tokens = self.context(frames.flatten(0, 1)[:, None], keep.repeat_interleave(2, dim=0))
            seen = tokens.reshape(len(frames), -1, tokens.shape[-1])
            where, hidden = ((i[:, None] + shift[:, None]).flatten(1) for i in (keep, hide))
            predicted = self.predictor(seen, where, hidden)
            errors.append(F.l1_loss(predicted, take(goal, hidden)))
            every.append(seen)
            places.append(where)
        parts = {"masked": torch.stack(errors).mean()}
        return self.regularized(parts, torch.cat(every, dim=1), torch.cat(places, dim=1), scene)
