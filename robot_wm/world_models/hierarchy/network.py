"""The upper level: codes for many blocks, what they lead to, and which to choose.

LeCun 2022 (A Path Towards Autonomous Machine Intelligence, 4.7): a higher level predicts further
ahead from less detail, and its predictions are goals of the lower one. Letters: ``N`` rows, ``Z``
the latent that both levels share, ``A`` a block's action, ``S`` blocks of a stride, ``M`` numbers
of a code, ``C`` components.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robot_wm.world_models.hierarchy.config import HierarchyConfig
from robot_wm.world_models.jepa.dynamics import ResidualMLP
from robot_wm.world_models.standardizer import Standardizer

LEAST, MOST = 0.05, 1.0  # standard deviation of a component of codes in [-1, 1]
SPREAD = 0.6  # of the noise around a component's mean, in its own standard deviations


class UpperLevel(nn.Module):
    """Encoder of actions, predictor and actor of one upper step.

    The latents are what the lower level's predictor knows, so that both levels' costs are one.

    Args:
        latent, action: ``Z`` and ``A``.
    """

    def __init__(self, config: HierarchyConfig, latent: int, action: int) -> None:
        super().__init__()
        c = self.config = config
        self.scale, self.place = Standardizer(action), Standardizer(latent)
        self.encode = ResidualMLP(c.stride * action, c.macro, c.width, 2)
        self.change = ResidualMLP(latent + c.macro, latent, c.width, c.blocks)
        self.choose = ResidualMLP(2 * latent, c.heads * (2 * c.macro + 1), c.width, c.blocks)
        nn.init.zeros_(self.change.leave.weight)
        nn.init.zeros_(self.change.leave.bias)

    def code(self, actions: Tensor) -> Tensor:
        """Blocks ``[N, S, A]`` in the task's unit to codes ``[N, M]`` in (-1, 1)."""
        return torch.tanh(self.encode(self.scale(actions).flatten(1)))

    def predict(self, z: Tensor, code: Tensor) -> Tensor:
        """Latents ``[N, Z]`` a stride later."""
        return z + self.change(torch.cat([self.place(z), code], dim=-1))

    def components(self, z: Tensor, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and deviations ``[N, C, M]`` and log shares ``[N, C]`` of codes towards a goal."""
        x, heads = self.choose(torch.cat([self.place(z), goal - z], dim=-1)), self.config.heads
        mean, raw = x[..., :-heads].unflatten(-1, (heads, -1)).chunk(2, dim=-1)
        spread = LEAST + (MOST - LEAST) * torch.sigmoid(raw)
        return torch.tanh(mean), spread, x[..., -heads:].log_softmax(dim=-1)

    def loss(
        self, z: Tensor, actions: Tensor, later: Tensor, goal: Tensor, noise: Tensor
    ) -> Tensor:
        """Error of the prediction plus what the actor does not expect of the code, a scalar.

        Args:
            z, later: latents ``[N, Z]``, a stride apart.
            actions: blocks between them ``[N, S, A]``.
            goal: latents that were reached later still ``[N, Z]``.
            noise: added to the codes ``[N, M]``.
        """
        code = self.code(actions)
        error = (self.predict(z, code + noise) - later).square().mean()
        mean, spread, share = self.components(z, goal)
        gap = (code.detach()[:, None] - mean) / spread
        density = share - (0.5 * gap.square() + spread.log()).sum(dim=-1)
        unexpected = 0.5 * math.log(2 * math.pi) - density.logsumexp(dim=-1).mean() / code.shape[-1]
        return error + unexpected

    def plans(self, z: Tensor, goal: Tensor, choice: Tensor, noise: Tensor) -> Tensor:
        """Latents ``[K, ahead, Z]`` of upper plans from a state and a goal ``[1, Z]``.

        Args:
            choice: uniform numbers in [0, 1), ``[K, ahead]``, of components.
            noise: standard normal ``[K, ahead, M]``.
        """
        steps, z = [], z.expand(len(choice), -1)
        for h in range(choice.shape[1]):
            mean, spread, share = self.components(z, goal.expand_as(z))
            passed = choice[:, h, None] >= share.exp().cumsum(dim=-1)
            picked = passed.sum(dim=-1).clamp(max=share.shape[-1] - 1)[:, None, None]
            picked = picked.expand(-1, 1, mean.shape[-1])
            mean, spread = mean.gather(1, picked)[:, 0], spread.gather(1, picked)[:, 0]
            z = self.predict(z, (mean + SPREAD * spread * noise[:, h]).clamp(-1, 1))
            steps.append(z)
        return torch.stack(steps, dim=1)
