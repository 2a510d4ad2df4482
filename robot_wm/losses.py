"""The terms of world-model training, one function each; the weights live in ``TrainConfig``.

Letters: ``B`` windows, ``T`` frames of a window, ``Z`` latent size, ``A`` action size, ``M`` heads.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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


def variance_hinge(z: Tensor, target: float = 1.0) -> Tensor:
    """VICReg's variance term, mean_{t,d} relu(target - sqrt(Var_b z + 1e-4)) (arXiv:2105.04906).

    Statistics run over windows at *one* time step, because neighbouring frames of one window are
    not independent samples.

    Args:
        z: latents ``[B, T, Z]``, ``B >= 2``.
        target: wanted standard deviation.
    """
    return F.relu(target - (z.var(dim=0) + 1e-4).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """VICReg's covariance term, mean_t Σ_{i≠j} C_ij² / Z, C over windows at one time step.

    Args:
        z: latents ``[B, T, Z]``, ``B >= 2``.
    """
    centred = z - z.mean(dim=0)
    c = torch.einsum("bti,btj->tij", centred, centred) / (len(z) - 1)
    off_diagonal = c.square().sum(dim=(1, 2)) - c.diagonal(dim1=1, dim2=2).square().sum(dim=1)
    return off_diagonal.mean() / z.shape[2]


def sigreg(
    z: Tensor, generator: torch.Generator, directions: int = 256, knots: int = 17, span: float = 5.0
) -> Tensor:
    """SIGReg (arXiv:2511.08544): Epps–Pulley distance of random projections to N(0, 1).

    B ∫ |(1/B) Σ_b e^{i t s_b} - e^{-t²/2}|² e^{-t²/2} dt with s = z·u, mean over unit directions u
    and time steps. An all-zero batch gives B·(√(2π) - 2√π + √(2π/3)) = .409·B; N(0, I) gives O(1).

    Args:
        z: latents ``[B, T, Z]``; statistics run over windows at one time step.
        generator: CPU generator of the directions, new ones each call.
        directions: number of projections.
        knots: points of the trapezoid rule on [0, span]; the integrand is even.
        span: end of the integral; beyond 5 the weight is below 4e-6.
    """
    u = torch.randn(z.shape[2], directions, generator=generator)
    s = z @ F.normalize(u, dim=0).to(z)
    t = torch.linspace(0, span, knots, device=z.device)
    weight = torch.full_like(t, 2 * span / (knots - 1))
    weight[[0, -1]] /= 2
    gauss = torch.exp(-t.square() / 2)
    total = z.new_zeros(())
    for knot in range(knots):  # one knot at a time keeps the memory at one [B, T, directions]
        angle = s * t[knot]
        real, imaginary = angle.cos().mean(dim=0), angle.sin().mean(dim=0)
        distance = (real - gauss[knot]).square() + imaginary.square()
        total = total + weight[knot] * gauss[knot] * distance.mean()
    return len(z) * total


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
