"""What keeps features from collapsing, one function each; weights live in the configurations.

Letters: ``N`` samples, ``D`` features. No code's coefficient fits another's: how each term is
normalised stands with it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def centered(tokens: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Subtract each group's mean.

    Args:
        tokens: ``[M, D]``.
        groups: int64 ``[M]`` in ``[0, count)``.

    Returns:
        Centred tokens and the degrees of freedom left, M minus the number of groups present.
    """
    size = torch.bincount(groups, minlength=count)
    sums = tokens.new_zeros(count, tokens.shape[1]).index_add(0, groups, tokens)
    means = sums / size.clamp(min=1)[:, None]
    return tokens - means.index_select(0, groups), len(tokens) - (size > 0).sum()


def variance_covariance(tokens: Tensor, freedom: Tensor | int) -> tuple[Tensor, Tensor]:
    """VICReg's two terms (arXiv:2105.04906) on centred tokens ``[M, D]``.

    Returns:
        Variance, mean_d relu(1 − √(Var_d + 1e-4)), and covariance, Σ_{i≠j} C_ij² / D.
    """
    covariance = tokens.T @ tokens / torch.as_tensor(freedom).clamp(min=1)
    variance = covariance.diagonal()
    hinge = F.relu(1 - (variance + 1e-4).sqrt()).mean()
    return hinge, (covariance.square().sum() - variance.square().sum()) / len(variance)


def barlow(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Barlow Twins (arXiv:2103.03230): correlations C of two views ``[N, D]`` with each other.

    Returns:
        Σ_i (1 − C_ii)² and Σ_{i≠j} C_ij²; both are 0 for two equal whitened views.
    """
    normal = [(x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() for x in (a, b)]
    correlation = normal[0].T @ normal[1] / len(a)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum(), correlation.square().sum() - diagonal.square().sum()


def sigreg(
    z: Tensor,
    generator: torch.Generator,
    directions: int = 256,
    knots: int = 17,
    reach: float = 3.0,
) -> Tensor:
    """How far ``z`` is from N(0, I), along random directions (LeJEPA, arXiv:2511.08544).

    With s = z·u for a unit u, N · ∫ |mean e^{its} − e^{−t²/2}|² e^{−t²/2} dt (Epps and Pulley 1983)
    by the trapezoid rule on [−reach, reach], averaged over directions. Of N(0, I) it is of order 1
    whatever N; of all zeros it is .409·N (.402·N with the reach of 3).

    Args:
        z: ``[..., N, D]``; leading axes (time steps, views) are separate samples, averaged.
        generator: draws the directions, new ones each call.
        knots: on [0, reach], mirrored.
    """
    drawn = torch.randn(z.shape[-1], directions, generator=generator)
    u = F.normalize(drawn, dim=0).to(z)
    t = torch.linspace(0, reach, knots, device=z.device)
    normal = (-t.square() / 2).exp()
    weight = normal * 2 * reach / (knots - 1)
    weight[[0, -1]] /= 2
    s = z @ u
    total = z.new_zeros(())
    for t_k, normal_k, weight_k in zip(t, normal, weight, strict=True):  # one knot's memory at once
        real, imaginary = (t_k * s).cos().mean(-2), (t_k * s).sin().mean(-2)
        total = total + weight_k * ((real - normal_k).square() + imaginary.square()).mean()
    return total * z.shape[-2]
