"""The predictor behind the contract: step_costs = mean + kappa · std over several courses.

Which z each course meets is decided when a history is encoded, by a hash of it, and is the same for
all candidates (common random numbers). It is not ``Exportable``: a bundle's graphs get no chance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.protocols import ModelSpec, check_actions
from robot_wm.world_models.causal.model import CausalState, LatentModel
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork

TRIED = 8  # values of z in an energy


class LatentVariableModel(LatentModel[LatentVariableNetwork]):
    """Several courses for every plan; surprise is F(x, y) = min over z of E(x, y, z)."""

    def __init__(self, network: LatentVariableNetwork, spec: ModelSpec) -> None:
        super().__init__(network, spec, network.config.chunk)

    def _chance(self, seed: int, *shape: int) -> Tensor:
        """Uniform numbers ``[*shape, C]``."""
        rng = np.random.default_rng(seed)
        return self._tensor(rng.random((*shape, self.network.variable.size), np.float32))

    @torch.inference_mode()
    def imagine(self, state: CausalState, actions: np.ndarray) -> Tensor:
        """Latents ``[K, N, H, Z]`` of candidate actions ``[N, H, A]`` in ``draws`` courses.

        Raises:
            InputError: see :func:`robot_wm.core.protocols.check_actions`.
        """
        check_actions(actions, self.spec)
        # Drawn step by step: a longer plan meets the same z as a shorter one.
        chance = self._chance(state.seed, actions.shape[1], self.network.config.draws)
        return self.network.courses(
            state.z[:1], state.z[1:], state.action, self._tensor(actions), chance.transpose(0, 1)
        )

    def costs(self, state: CausalState, goal: CausalState, actions: np.ndarray) -> Tensor:
        """See the module."""
        costs = self.network.costs(self.imagine(state, actions), goal.z[1:])
        return costs.mean(0) + self.network.config.kappa * costs.std(0, correction=0)

    def error(self, z: Tensor, actions: Tensor, y: Tensor, seed: int) -> Tensor:
        """The least energy of several z."""
        h = self.network.know(z, actions)[0, -1]
        return self.network.energies(z[0, -1], h, y, self._chance(seed, TRIED)).amin(0)
