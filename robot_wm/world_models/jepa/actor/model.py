"""The actor: one block at a time, rolled out in the world model to make a plan.

A policy over latents, conditioned on a goal: a mixture of Gaussians over the next block, since
there are several ways round an obstacle and their mean may be none of them. A plan is what it does
when it acts in the predictor's imagination, so that each block answers what the ones before led to
(as TD-MPC2, arXiv:2310.16828, and Dreamer, arXiv:2301.04104, make proposals).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robot_wm.world_models.jepa.dynamics import LatentPredictor, ResidualMLP
from robot_wm.world_models.standardizer import Standardizer

LEAST, MOST = 0.05, 1.5  # standard deviation of a component, in those of the blocks
GOLDEN = 0.6180339887498949  # later blocks shift the uniform number by it, modulo 1


class Actor(nn.Module):
    """Mixture of ``heads`` Gaussians over the block that leaves here towards the goal.

    Args:
        latent, action: sizes ``Z`` and ``A``.
        horizon: blocks of a plan.
        heads: components ``M``.
        width, blocks: of the trunk.
    """

    SPREAD = 0.6  # of the noise around a component's mean, in its own standard deviations

    def __init__(
        self, latent: int, action: int, horizon: int, heads: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.shape = (heads, horizon, action)
        self.scale, self.place = Standardizer(action), Standardizer(latent)
        self.mlp = ResidualMLP(3 * latent + action, heads * (2 * action + 1), width, blocks)
        self.wandering = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        z_prev: Tensor,
        z: Tensor,
        a_prev: Tensor,
        goal: Tensor,
        hindsight: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of latents ``[N, Z]`` to normalised means and deviations ``[N, M, A]``, logits.

        Rows with a 1 in ``hindsight`` ``[N]`` are asked what led to the goal by chance, which
        shares all but one vector with what a teacher would do.
        """
        inputs = [self.place(z), z - z_prev, goal - z, self.scale(a_prev)]
        x = self.mlp.enter(torch.cat(inputs, dim=-1))
        if hindsight is not None:
            x = x + hindsight[:, None] * self.wandering
        x = self.mlp.leave(self.mlp.blocks(x))
        heads, _, action = self.shape
        mean, raw = x[..., :-heads].unflatten(-1, (heads, 2 * action)).chunk(2, dim=-1)
        return mean, LEAST + (MOST - LEAST) * torch.sigmoid(raw), x[..., -heads:]

    def loss(
        self,
        z_prev: Tensor,
        z: Tensor,
        a_prev: Tensor,
        goal: Tensor,
        block: Tensor,
        hindsight: Tensor | None = None,
    ) -> Tensor:
        """Negative log-likelihood of blocks ``[N, A]`` in the task's unit, per number."""
        mean, std, logits = (x.float() for x in self(z_prev, z, a_prev, goal, hindsight))
        error = (self.scale(block)[:, None] - mean) / std
        density = -(0.5 * error.square() + std.log()).sum(dim=-1)
        action = self.shape[-1]
        total = torch.logsumexp(density + logits.log_softmax(dim=-1), dim=-1)
        return 0.5 * math.log(2 * math.pi) - total.mean() / action

    def sample(
        self,
        predictor: LatentPredictor,
        z_prev: Tensor,
        z: Tensor,
        a_prev: Tensor,
        goal: Tensor,
        choice: Tensor,
        noise: Tensor,
        low: Tensor,
        high: Tensor,
    ) -> Tensor:
        """Plans in the task's unit within bounds: ``[M + K, H, A]``.

        First, without noise, a plan that begins with each component, likeliest first, and goes on
        with the likeliest ones; then ``K`` plans whose components are drawn, with noise in
        proportion to their deviation. Chance is an argument, so that a traced graph draws alike.

        Args:
            predictor: imagines what a block leads to.
            z_prev, z, a_prev, goal: one row each.
            choice: uniform numbers in [0, 1), ``[K]``.
            noise: standard normal, ``[K, H, A]``, see ``contracts.proposal_chance``.
            low, high: bounds of a block ``[A]``.
        """
        heads, horizon, _ = self.shape
        rows = heads + choice.shape[0]
        z_prev, z, a_prev, goal = (x.expand(rows, -1) for x in (z_prev, z, a_prev, goal))
        plan = []
        for h in range(horizon):
            mean, std, logits = self(z_prev, z, a_prev, goal)
            order = logits[:heads].argsort(dim=-1, descending=True)
            # All rows are alike in the first block: row m takes the m-th likeliest component.
            fixed = order.diagonal() if h == 0 else order[:, 0]
            passed = torch.frac(choice + h * GOLDEN)[:, None] >= logits[heads:].softmax(
                dim=-1
            ).cumsum(dim=-1)
            component = passed.sum(dim=-1).clamp(max=heads - 1)
            picked = torch.cat([fixed, component])[:, None, None].expand(-1, 1, mean.shape[-1])
            block = mean.gather(1, picked)[:, 0]
            spread = self.SPREAD * noise[:, h] * std[heads:].gather(1, picked[heads:])[:, 0]
            block = block + torch.cat([torch.zeros_like(block[:heads]), spread])
            block = torch.minimum(torch.maximum(self.scale.inverse(block), low), high)
            z_prev, z, a_prev = z, predictor(z_prev, z, a_prev, block), block
            plan.append(block)
        return torch.stack(plan, dim=1)
