"""The optimizer of every training, and the learning rate of a step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def make_optimizer(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW over what learns; matrices decay; biases, norms and single tokens do not.

    Args:
        module: its parameters with ``requires_grad`` are trained.
        lr: to begin with; the loop sets it anew in every step.
        weight_decay: of parameters with more than one axis.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr, fused=True)


def warmup_cosine(
    peak: float, step: int, steps: int, warmup: int, end: float = 0.0, hold: int = 0
) -> float:
    """Linear warm-up to ``peak``, then half a cosine down to ``end`` of it.

    Args:
        peak: the largest learning rate.
        step: counts from 1; the first has ``peak / warmup``.
        steps: the step that reaches ``end``.
        warmup: the first step at the peak; 0 begins the cosine at once.
        end: share of the peak that is left in the end.
        hold: further steps at the peak.
    """
    if step <= warmup:
        return peak * step / warmup
    t = (step - warmup - hold) / max(1, steps - warmup - hold)
    return peak * (end + (1 - end) * (1 + math.cos(math.pi * t)) / 2)
