"""What a bundle's graphs are made of, as torch modules of pure tensor functions.

Letters as in :class:`robot_wm.world_models.base.ExportParts`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.jepa.network import Network


class Encode(nn.Module):
    """Images uint8 ``[N, S, S, 3]`` to latents ``[N, Z]`` and novelty ``[N]``; each alone."""

    def __init__(self, encoder: Any, network: Network) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        tokens = self.encoder(images[:, None])
        return self.network.embed(tokens), self.network.novelty(tokens)


class StepCosts(nn.Module):
    """Rollout and comparison: ``actions [N, H, A]`` to costs ``[N, H]``."""

    def __init__(self, network: Network, cost: str) -> None:
        super().__init__()
        self.network, self.kind = network, cost

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, actions: Tensor
    ) -> Tensor:
        """See the class."""
        latents = self.network.predictor.rollout(z_prev, z, a_prev, actions)
        return self.network.costs(latents, goal, self.kind)


class Propose(nn.Module):
    """The learned actor: ``[M + K, H, A]`` plans within bounds."""

    def __init__(self, network: Network, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("low", torch.tensor(spec.action_low))
        self.register_buffer("high", torch.tensor(spec.action_high))

    def forward(
        self, z_prev: Tensor, z: Tensor, a_prev: Tensor, goal: Tensor, choice: Tensor, noise: Tensor
    ) -> Tensor:
        """See the class."""
        bounds = self.get_buffer("low"), self.get_buffer("high")
        return self.network.plans((z_prev, z, a_prev), goal, choice, noise, bounds)
