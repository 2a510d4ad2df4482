"""LeWM as a family; it looks at frames and never asks for latents of the frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence

from robot_wm.core.protocols import ModelSpec
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.windows import Rows
from robot_wm.encoders.base import Encoder
from robot_wm.world_models.base import TrainingData
from robot_wm.world_models.causal.family import CausalFamily
from robot_wm.world_models.lewm.network import LeWMConfig, LeWMNetwork


class LeWMFamily(CausalFamily):
    """See the module's text and :class:`LeWMNetwork`."""

    name, config = "lewm", LeWMConfig

    def network(self, config: LeWMConfig, spec: ModelSpec, encoder: Encoder) -> LeWMNetwork:
        """Its own encoder; the frozen one is a parent in name alone."""
        return LeWMNetwork(config, spec.image_size, spec.action_dim)

    def rows(self, stores: Sequence[EpisodeReader], data: TrainingData, encoder: Encoder) -> Rows:
        """The pictures."""
        return lambda number, index: stores[number][index].frames


FAMILY = LeWMFamily()
