"""The learned parts that work on the compact latent: predictor, proposer, goal distance.

Letters: ``N`` candidates, ``H`` horizon in blocks, ``A`` action size of a block, ``Z`` latent size.
Actions enter and leave in the task's own unit; statistics are buffers of the modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.world_models.standardizer import Standardizer


class GatedBlock(nn.Module):
    """x + W (silu(u) · v), with u and v linear in LayerNorm(x) (SwiGLU; Shazeer, arXiv:2002.05202).

    At equal size it learns contact in about half the steps of a plain GELU layer, and gains more
    from depth (docs/log.md).

    Args:
        width: of the trunk; the hidden width is 4/3 of it, so that a block has 4·width² weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * 4 // 3
        self.norm = nn.LayerNorm(width)
        self.open = nn.Linear(width, 2 * hidden)
        self.close = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` to the same shape."""
        gate, value = self.open(self.norm(x)).chunk(2, dim=-1)
        return x + self.close(nn.functional.silu(gate) * value)


class ResidualMLP(nn.Module):
    """Linear, gated residual blocks, linear.

    Args:
        inputs, outputs: sizes ``I`` and ``O``.
        width, blocks: of the trunk.
    """

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(GatedBlock(width) for _ in range(blocks)))
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., I]`` to ``[..., O]``."""
        out: Tensor = self.leave(self.blocks(self.enter(x)))
        return out


class LatentPredictor(nn.Module):
    """z_{t+1} = z_t + P(z_t, z_{t-1}, a_t, a_{t-1}).

    The previous latent carries the velocity. Where there is none (first frame of an episode, a goal
    image) it is a copy of ``z_t`` and the previous action is zero, in training as in planning. The
    last layer starts at zero, so that an untrained predictor copies the frame.
    """

    def __init__(self, latent: int, action: int, width: int, blocks: int) -> None:
        super().__init__()
        self.scale, self.place = Standardizer(action), Standardizer(latent)
        self.change = ResidualMLP(2 * latent + 2 * action, latent, width, blocks)
        nn.init.zeros_(self.change.leave.weight)
        nn.init.zeros_(self.change.leave.bias)

    def forward(self, z_prev: Tensor, z: Tensor, a_prev: Tensor, a: Tensor) -> Tensor:
        """One model step: latents ``[N, Z]``, actions ``[N, A]``, to the next latent ``[N, Z]``."""
        known = [self.place(z), z - z_prev, self.scale(a_prev), self.scale(a)]
        changed: Tensor = z + self.change(torch.cat(known, dim=-1))
        return changed

    def rollout(self, z_prev: Tensor, z: Tensor, a_prev: Tensor, actions: Tensor) -> Tensor:
        """Imagine: actions ``[N, H, A]`` to latents ``[N, H, Z]``; state rows may be 1 or ``N``."""
        rows = len(actions)
        z_prev, z, a_prev = (x.expand(rows, -1) for x in (z_prev, z, a_prev))
        steps = []
        for h in range(actions.shape[1]):
            z_prev, z, a_prev = z, self(z_prev, z, a_prev, actions[:, h]), actions[:, h]
            steps.append(z)
        return torch.stack(steps, dim=1)


class ActionPrior(nn.Module):
    """Goal-conditioned inverse dynamics: the blocks that lead from here to the goal.

    A mixture of ``heads`` plans with a logit each, since there are several ways round an obstacle
    and their mean may be none of them. ``residual`` is the running standard deviation of a head's
    error where it wins, the scale of the noise around its plan.
    """

    residual: Tensor
    SPREAD = 0.6  # of the noise, in residuals: part of the error is the demonstrators' own noise

    def __init__(
        self, latent: int, action: int, horizon: int, heads: int, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.shape = (heads, horizon, action)
        self.scale, self.place = Standardizer(action), Standardizer(latent)
        outputs = heads * (horizon * action + 1)
        self.mlp = ResidualMLP(3 * latent + action, outputs, width, blocks)
        self.register_buffer("residual", torch.ones(self.shape))

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Rows of latents ``[N, Z]`` to normalised plans ``[N, M, H, A]`` and logits ``[N, M]``."""
        inputs = [self.place(z), z - z_prev, goal - z, self.scale(a_prev)]
        x = self.mlp(torch.cat(inputs, dim=-1))
        heads = self.shape[0]
        return x[..., :-heads].unflatten(-1, self.shape), x[..., -heads:]

    def sample(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        """Plans in the task's unit, bounds not applied: ``[M + K, H, A]``.

        The heads come first, likeliest first, without noise; then ``K`` heads drawn by their
        probability, with noise in proportion to that head's own residual. Chance is an argument, so
        that a traced graph draws as this does.

        Args:
            z_prev, z, a_prev, goal: one row each.
            choice: uniform numbers in [0, 1), ``[K]``.
            noise: standard normal, ``[K, H, A]``, see ``contracts.proposal_chance``.
        """
        plans, logits = self(z_prev, z, a_prev, goal)
        probability = logits[0].softmax(dim=0)
        order = probability.argsort(descending=True)
        passed = choice[:, None] >= probability.cumsum(dim=0)[None]
        head = passed.sum(dim=1).clamp(max=self.shape[0] - 1)
        noisy = plans[0][head] + self.SPREAD * noise * self.residual[head]
        return self.scale.inverse(torch.cat([plans[0][order], noisy]))

    @torch.no_grad()
    def track(self, plans: Tensor, target: Tensor, mask: Tensor, winner: Tensor) -> None:
        """Update ``residual`` (momentum .01) from a batch of ``winner_takes_all``."""
        heads = self.shape[0]
        won = nn.functional.one_hot(winner, heads).to(plans)[:, :, None] * mask[:, None]
        squared = (plans - target[:, None]).square() * won[..., None]
        count = won.sum(dim=0)
        fresh = squared.sum(dim=0) / count.clamp(min=1)[..., None]
        variance = self.residual.square()
        variance = torch.where(count[..., None] >= 4, torch.lerp(variance, fresh, 0.01), variance)
        self.residual.copy_(variance.sqrt())


class GoalDistance(nn.Module):
    """Goal distance d(z, z_goal) ≈ log(1 + blocks to go), learned in hindsight (the critic)."""

    def __init__(self, latent: int, width: int, blocks: int) -> None:
        super().__init__()
        self.place = Standardizer(latent)
        self.mlp = ResidualMLP(2 * latent, 1, width, blocks)

    def forward(self, z: Tensor, goal: Tensor) -> Tensor:
        """``[..., Z]`` and ``[..., Z]`` to ``[...]``."""
        distance: Tensor = self.mlp(torch.cat([self.place(z), goal - z], dim=-1)).squeeze(-1)
        return distance
