"""The video model as a family of world models."""

from __future__ import annotations

from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.generative.family import GeneratorFamily
from robot_wm.world_models.sora.config import SoraConfig
from robot_wm.world_models.sora.network import Sora


class SoraFamily(GeneratorFamily):
    """Video latents and a diffusion transformer, planned with by comparing what it generates."""

    name, config = "sora", SoraConfig

    def network(self, config: SoraConfig, spec: ModelSpec) -> Sora:
        """The untrained networks."""
        return Sora(config, spec)


FAMILY = SoraFamily()
