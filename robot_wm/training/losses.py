"""Losses that several trainings share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrast(now: Tensor, later: Tensor, apart: Tensor, log_sharpness: Tensor) -> Tensor:
    """InfoNCE over pairs one block apart: which later frame belongs to which, by squared distance.

    van den Oord et al. 2018 (arXiv:1807.03748), both ways round as in CLIP. The other frames of the
    same episode are the hard negatives: without them the embedding knows which episode it looks at
    and not where things are.

    Args:
        now, later: embeddings ``[B, Z]``, row by row one block apart.
        apart: bool ``[B, B]``, symmetric: which rows may be told from each other.
        log_sharpness: scalar, learned.
    """
    gaps = now.square().sum(1)[:, None] + later.square().sum(1)[None] - 2 * now @ later.T
    rows = torch.arange(len(now), device=now.device)
    compared = apart | (rows[:, None] == rows[None])
    logits = (-gaps * log_sharpness.exp()).masked_fill(~compared, -torch.inf)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
