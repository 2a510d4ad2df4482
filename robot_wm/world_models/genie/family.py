"""Genie as families of world models: with latent actions, and told the true ones."""

from __future__ import annotations

from robot_wm.core.protocols import ModelSpec
from robot_wm.world_models.generative.family import GeneratorFamily
from robot_wm.world_models.genie.config import GenieConfig, TrueGenieConfig
from robot_wm.world_models.genie.network import Genie, TrueGenie


class GenieFamily(GeneratorFamily):
    """Latent actions learned without labels (arXiv:2402.15391)."""

    name, config = "genie", GenieConfig

    def network(self, config: GenieConfig, spec: ModelSpec) -> Genie:
        """The untrained networks."""
        return Genie(config, spec)


class TrueGenieFamily(GeneratorFamily):
    """The same tokens and dynamics, told the true actions: what latent ones cost."""

    name, config = "genie_true", TrueGenieConfig

    def network(self, config: TrueGenieConfig, spec: ModelSpec) -> TrueGenie:
        """The untrained networks."""
        return TrueGenie(config, spec)


FAMILY, TRUE_FAMILY = GenieFamily(), TrueGenieFamily()
