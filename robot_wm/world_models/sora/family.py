"""Sora: video latents and a diffusion transformer, planned with by comparing what it generates."""

from __future__ import annotations

from robot_wm.world_models.pixels.family import PixelFamily
from robot_wm.world_models.pixels.staged import StagedTraining
from robot_wm.world_models.sora.config import SoraConfig
from robot_wm.world_models.sora.model import SoraModel
from robot_wm.world_models.sora.network import Sora

FAMILY = PixelFamily("sora", SoraConfig, Sora, SoraModel, StagedTraining)
