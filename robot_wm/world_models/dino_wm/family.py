"""DINO-WM as a family; it is trained on the latent cache of the frozen encoder."""

from __future__ import annotations

import copy

from robot_wm.core.protocols import ModelSpec
from robot_wm.encoders.base import Encoder
from robot_wm.world_models.causal.family import TokenFamily
from robot_wm.world_models.dino_wm.network import DinoWMConfig, DinoWMNetwork


class DinoWMFamily(TokenFamily):
    """See the module's text and :class:`DinoWMNetwork`."""

    name, config = "dino_wm", DinoWMConfig

    def network(self, config: DinoWMConfig, spec: ModelSpec, encoder: Encoder) -> DinoWMNetwork:
        """Over the frozen encoder."""
        return DinoWMNetwork(config, copy.deepcopy(encoder), spec.action_dim)


FAMILY = DinoWMFamily()
