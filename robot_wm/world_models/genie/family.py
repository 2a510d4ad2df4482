"""Genie with latent actions learned without labels, and told the true ones: what latent ones cost.

Nothing is exported: an imagined block takes several passes through a transformer of whole pictures,
which no robot's processor carries out within a control period.
"""

from __future__ import annotations

from robot_wm.world_models.genie.config import GenieConfig, TrueGenieConfig
from robot_wm.world_models.genie.network import Genie, TrueGenie
from robot_wm.world_models.pixels.family import PixelFamily
from robot_wm.world_models.pixels.generator import GenerativeModel
from robot_wm.world_models.pixels.staged import StagedTraining

FAMILY = PixelFamily("genie", GenieConfig, Genie, GenerativeModel, StagedTraining)
TRUE_FAMILY = PixelFamily("genie_true", TrueGenieConfig, TrueGenie, GenerativeModel, StagedTraining)
