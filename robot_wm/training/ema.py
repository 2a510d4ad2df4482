"""Running averages of weights.

``torch.optim.swa_utils.AveragedModel`` is no stand-in: its first average is a copy of the weights
after one step, its decay cannot warm up, and it averages buffers, too (statistics and fixed maps
are to be those of the weights). Each of these gives other numbers than every stored model has.
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def average(target: nn.Module, source: nn.Module, decay: float) -> None:
    """Target ← decay·target + (1-decay)·source for parameters; buffers are copied."""
    for weight, new in zip(target.parameters(), source.parameters(), strict=True):
        weight.lerp_(new, 1 - decay)
    for buffer, fixed in zip(target.buffers(), source.buffers(), strict=True):
        buffer.copy_(fixed)


class Averaged(nn.Module, Generic[M]):
    """A module that learns (``live``) and its running average (``ema``), as checkpoints hold them.

    Args:
        live: what learns; the average begins as a copy of it.
    """

    live: M
    ema: M

    def __init__(self, live: M) -> None:
        super().__init__()
        self.live = live
        self.ema = copy.deepcopy(live).requires_grad_(False).eval()

    def update(self, decay: float, step: int) -> None:
        """Take in the weights after ``step`` (from 1); early steps are forgotten faster.

        The decay is the smaller of ``decay`` and (1 + step) / (10 + step).
        """
        average(self.ema, self.live, min(decay, (1 + step) / (10 + step)))
