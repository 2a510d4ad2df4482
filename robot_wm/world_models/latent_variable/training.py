"""Train a predictor with a latent variable: error under the posterior, and what z costs."""

from __future__ import annotations

import torch
from torch import Tensor

from robot_wm.training.loop import generators_of
from robot_wm.world_models.causal.training import CausalTraining
from robot_wm.world_models.latent_variable.config import LatentVariableConfig
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork


class LatentVariableTraining(CausalTraining):
    """See :class:`CausalTraining`; rows are latents, and the loss is of the free energy."""

    config: LatentVariableConfig

    @property
    def _network(self) -> LatentVariableNetwork:
        network = self.live
        assert isinstance(network, LatentVariableNetwork)  # what the family gives it
        return network

    def loss(self, step: int) -> Tensor:
        """Expected error and the price of z, of a fresh batch."""
        rng, generator = generators_of(self.config.seed, step)
        rows, actions = self._at_rest(self.windows.draw(self.config.batch, rng), rng)
        size = self._network.variable.size
        chance = torch.rand(*actions.shape[:2], size, generator=generator).to(rows.device)
        gaps, kl = self._network.losses(rows[:, :-1], actions, rows[:, 1:], chance)
        return self.summed({"prediction": gaps.mean(), "kl": self.config.beta * kl.mean()})
