"""IWM (arXiv:2403.00504): an I-JEPA whose predictor is told how the two views differ.

Source and target are one picture under different photometric changes of known parameters; the
source also loses colour, sharpness or half its range now and then, and is masked. A predictor that
is told the change, and has room, predicts it, and the encoder keeps the look (equivariant); one
that is weak or told nothing makes the encoder throw it away (invariant): ``predictor_depth`` and
``told`` are the variables to sweep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.config import Fraction, Within
from robot_wm.pretraining.jitter import COLORS, DESTROYS, Jitter, apply_jitter, draw_jitter
from robot_wm.pretraining.objectives import Batch
from robot_wm.pretraining.objectives.ijepa import IJEPA, BlockConfig


@dataclass(frozen=True)
class IWMConfig(BlockConfig):
    """Options of IWM.

    Attributes:
        strength: of the colour changes, see :func:`apply_jitter`.
        grey, blur, solarise: shares of sources that are destroyed so.
        told: whether the predictor is told the change.
    """

    predictor_depth: Annotated[int, Within(1, 256)] = 4
    strength: Annotated[float, Within(0, 4)] = 0.4
    grey: Fraction = 0.2
    blur: Fraction = 0.2
    solarise: Fraction = 0.1
    told: bool = True


class IWM(IJEPA):
    """The objective; see the module's text. Options: :class:`IWMConfig`."""

    options = IWMConfig
    condition = COLORS + DESTROYS
    config: IWMConfig

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """See :class:`Objective`; squared errors, as in the paper."""
        frames, scene = batch["frames"].flatten(0, 1), batch["scene"].repeat_interleave(2)
        source, change = self._source(rng, len(frames)), draw_jitter(rng, len(frames))
        x, y = (apply_jitter(frames, jitter, self.config.strength) for jitter in (source, change))
        told = self._told(source, change).to(frames.device)
        seen, where, predicted, wanted = self.predict(x, y, scene, rng, told)
        return self.regularized({"masked": F.mse_loss(predicted, wanted)}, seen, where, scene)

    def _source(self, rng: np.random.Generator, count: int) -> Jitter:
        c = self.config
        return draw_jitter(rng, count, (c.grey, c.blur, c.solarise))

    def _told(self, source: Jitter, target: Jitter) -> Tensor:
        """What leads from source to target, ``[N, C]`` of about unit variance; zeros untold."""
        change = (target.colors - source.colors) / math.sqrt(2)
        told = torch.cat([change, source.destroys], dim=1)
        return told if self.config.told else torch.zeros_like(told)

    @torch.no_grad()
    def reciprocal_rank(
        self, frames: Tensor, scene: Tensor, rng: np.random.Generator, count: int = 256
    ) -> float:
        """Mean reciprocal rank of the told change among ``count`` changes of the same picture.

        1 where the prediction is nearest to the picture so changed, about ln(count)/count where the
        predictor cannot tell changes apart. Only the context of undestroyed sources is used.

        Args:
            frames: uint8 ``[N, H, W, 3]``.
            scene: int64 ``[N]``.
        """
        self.eval()
        ranks = []
        for frame, own in zip(frames, scene, strict=True):
            source, changes = draw_jitter(rng, 1), draw_jitter(rng, count)
            views = [
                apply_jitter(frame[None].expand(len(j.colors), -1, -1, -1), j, self.config.strength)
                for j in (source, changes)
            ]
            mask = self._masks(rng, 1)
            where, blocks = (torch.from_numpy(side).to(frame.device) for side in mask)
            hidden = blocks.flatten(1)
            first = Jitter(*(part[:1] for part in changes))
            told = self._told(source, first).to(frame.device)
            seen = self.context(views[0][:, None], where)
            predicted = self.predictor(seen, where, hidden, told)
            goal = self.targets(views[1][:, None], own.expand(count))[:, hidden[0]]
            gaps = (goal - predicted).square().mean((1, 2))
            ranks.append(1 / (1 + int((gaps[1:] < gaps[0]).sum())))
        return float(np.mean(ranks))
