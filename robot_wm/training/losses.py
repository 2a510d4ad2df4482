"""Losses, one function each; their weights live in the configurations of trainings.

Letters: ``B`` windows, ``T`` frames of a window, ``Z`` latent size, ``A`` action size, ``M`` heads.
"""

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


def prediction(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over all axes of (ẑ - z)²; squared L2 beats L1 in every published comparison."""
    return (predicted - target).square().mean()


def straightening(z: Tensor) -> Tensor:
    """Mean of 1 - cos(ż_t, ż_{t+1}) with ż_t = z_{t+1} - z_t: 0 on a line, 2 on a reversal.

    Args:
        z: latents ``[B, T, Z]``, ``T >= 3``.
    """
    velocity = z[:, 1:] - z[:, :-1]
    return (1 - F.cosine_similarity(velocity[:, 1:], velocity[:, :-1], dim=-1, eps=1e-4)).mean()


def motion_weights(features: Tensor, weight: float) -> Tensor:
    """How much the error of each token counts, ``[B, T, P]``: more where it changes.

    A token weighs 1 + weight·min(c / mean c, 8), c its mean squared changes from the frame
    before and to the next, added: the pusher fills two tokens of 64, and the background is easy.

    Args:
        features: ``[B, T, P, R]``, ``T >= 2``.
        weight: 0 weighs all tokens alike.
    """
    change = (features[:, 1:] - features[:, :-1]).square().mean(dim=-1)  # [B, T-1, P]
    change = torch.cat([change[:, :1], change[:, 1:] + change[:, :-1], change[:, -1:]], dim=1)
    return 1 + weight * (change / change.mean().clamp(min=1e-6)).clamp(max=8)


def foreground_weights(features: Tensor, weight: float) -> Tensor:
    """How much more the error of a token counts that is unlike the scene without its objects.

    That is weight·min(e / mean e, 16), e its mean square: a small thing that rests, such as a cube
    on a table, fills one token or two, never changes, and is lost without it (docs/log.md).

    Args:
        features: whitened tokens ``[B, T, P, R]``, 0 where a place looks as it does on average
            (:class:`robot_wm.encoders.token_pca.TokenPCA`).
        weight: 0 weighs all tokens alike.

    Returns:
        ``[B, T, P]``.
    """
    unlike = features.square().mean(dim=-1)
    return weight * (unlike / unlike.mean().clamp(min=1e-6)).clamp(max=16)


def moving(rebuilt: Tensor, features: Tensor, weight: float, foreground: float = 0.0) -> Tensor:
    """Mean squared error of tokens ``[B, T, P, R]``.

    Args:
        weight: see :func:`motion_weights`, of ``features``.
        foreground: see :func:`foreground_weights`, added.
    """
    weights = motion_weights(features, weight)
    if foreground:
        weights = weights + foreground_weights(features, foreground)
    error = (rebuilt - features).square().mean(dim=-1)
    return (weights * error).sum() / weights.sum()


def winner_takes_all(
    plans: Tensor, logits: Tensor, target: Tensor, mask: Tensor, spread: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Mixture regression: only the closest head learns (plus a little for all, so none dies).

    min_m e_m + spread·mean_m e_m + CE(logits, argmin_m e_m), where e_m is the masked mean of the
    squared error of head m.

    Args:
        plans: ``[B, M, H, A]``.
        logits: ``[B, M]``.
        target: recorded blocks ``[B, H, A]``.
        mask: ``[B, H]``, 1 where a block leads towards the goal; a row of zeros is ignored.

    Returns:
        The loss, and the winner's index ``[B]``.
    """
    valid = (mask.sum(dim=1) > 0).to(plans)
    per_step = (plans - target[:, None]).square().mean(dim=3)
    errors = (per_step * mask[:, None]).sum(dim=2) / mask.sum(dim=1).clamp(min=1)[:, None]
    best, winner = errors.min(dim=1)
    choice = F.cross_entropy(logits, winner, reduction="none")
    rows = best + spread * errors.mean(dim=1) + choice
    return (rows * valid).sum() / valid.sum().clamp(min=1), winner


def log_steps(predicted: Tensor, steps: Tensor) -> Tensor:
    """Mean of (d - log(1 + k))², k the number of blocks to a goal seen later in the episode."""
    return (predicted - torch.log1p(steps)).square().mean()
