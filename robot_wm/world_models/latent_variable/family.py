"""A predictor with a latent variable, as a family; it is trained on the latent cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from robot_wm.core.protocols import ModelSpec
from robot_wm.data.formats.base import EpisodeReader, open_stores
from robot_wm.data.windows import Rows, Windows
from robot_wm.encoders.base import Encoder, load_encoder
from robot_wm.world_models.base import TrainingData
from robot_wm.world_models.causal.family import TokenFamily
from robot_wm.world_models.latent_variable.config import LatentVariableConfig
from robot_wm.world_models.latent_variable.model import LatentVariableModel
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork
from robot_wm.world_models.latent_variable.training import LatentVariableTraining


class LatentVariableFamily(TokenFamily):
    """See the module's text and :class:`LatentVariableNetwork`."""

    name, config, training = "latent_variable", LatentVariableConfig, LatentVariableTraining

    def network(
        self, config: LatentVariableConfig, spec: ModelSpec, encoder: Encoder
    ) -> LatentVariableNetwork:
        """Over the frozen encoder."""
        return LatentVariableNetwork(config, copy.deepcopy(encoder), spec.action_dim)

    def fit(
        self, network: LatentVariableNetwork, rows: Rows, stores: Sequence[EpisodeReader]
    ) -> Rows:
        """The latent, which is then all that the predictor learns from."""
        return projected(network, super().fit(network, rows, stores))

    def model(
        self, network: LatentVariableNetwork, spec: ModelSpec, frames: np.ndarray | None = None
    ) -> LatentVariableModel:
        """It shows no frames, of which a course has as many as there are draws."""
        return LatentVariableModel(network, spec)

    def windows(
        self, network: LatentVariableNetwork, data: TrainingData, split: str, length: int
    ) -> Windows:
        """Windows of latents ``[B, length, Z]`` of one split, for measuring.

        Raises:
            DataError: episodes of another task, or of several robots.
        """
        encoder = load_encoder(data.encoder)
        stores = open_stores(network.config.task, data.datasets)
        rows = self.rows(stores, data, encoder)
        return Windows(stores, split, length, projected(network, rows))


def projected(network: LatentVariableNetwork, rows: Rows) -> Rows:
    """Latents float32 ``[F, Z]`` in place of tokens ``[F, P, D]``."""

    def project(number: int, index: int) -> np.ndarray:
        with torch.no_grad():
            tokens = torch.from_numpy(np.array(rows(number, index)))
            found: np.ndarray = network.project(tokens.to(network.mean.device)).cpu().numpy()
        return found

    return project


FAMILY = LatentVariableFamily()
