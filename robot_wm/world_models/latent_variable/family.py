"""A predictor with a latent variable, as a family; it is trained on the latent cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robot_wm.core.images import Size
from robot_wm.data.formats.base import EpisodeReader, open_stores, spec_of
from robot_wm.data.windows import Rows, Windows
from robot_wm.encoders.base import Encoder, load_encoder
from robot_wm.world_models.base import Evaluate, TrainingData
from robot_wm.world_models.causal.family import CausalFamily
from robot_wm.world_models.dino_wm.family import FAMILY as DINO_WM
from robot_wm.world_models.latent_variable.config import LatentVariableConfig
from robot_wm.world_models.latent_variable.model import LatentVariableModel
from robot_wm.world_models.latent_variable.network import LatentVariableNetwork
from robot_wm.world_models.latent_variable.training import LatentVariableTraining


class LatentVariableFamily(CausalFamily):
    """See the module's text and :class:`LatentVariableNetwork`."""

    name, config = "latent_variable", LatentVariableConfig

    def network(
        self, config: LatentVariableConfig, image_size: Size, action: int, encoder: Encoder
    ) -> LatentVariableNetwork:
        """Over the frozen encoder."""
        return LatentVariableNetwork(config, copy.deepcopy(encoder), action)

    def rows(self, stores: Sequence[EpisodeReader], data: TrainingData, encoder: Encoder) -> Rows:
        """Cached tokens, as memory maps."""
        return DINO_WM.rows(stores, data, encoder)

    def fit(self, network: Any, rows: Rows, stores: Sequence[EpisodeReader]) -> None:
        """The latent, to tokens of about sixty training episodes."""
        DINO_WM.fit(network, rows, stores)

    def _training(
        self,
        config: Any,
        stores: Sequence[EpisodeReader],
        rows: Rows,
        encoder: Encoder,
        target: Path,
        evaluate: Evaluate | None,
    ) -> LatentVariableTraining:
        schema = stores[0].schema
        action = len(schema.control_low) * schema.frame_every
        torch.manual_seed(config.seed)  # within `fit`, which gives torch's generator back
        network = self.network(config, schema.image_size, action, encoder)
        self.fit(network, rows, stores)
        needed = 4 * (network.activations + config.draws * config.horizon * network.latent)
        spec = spec_of(stores[0], 2, config.horizon, needed)
        return LatentVariableTraining(
            self.name, config, spec, network, stores, projected(network, rows), encoder.sha256,
            target, evaluate,
        )  # fmt: skip

    def load(  # type: ignore[override]
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> LatentVariableModel:
        """See the base; it shows no frames, of which a course has as many as there are draws."""
        loaded = super().load(folder, encoder_folder, cost)
        assert isinstance(loaded.network, LatentVariableNetwork)
        return LatentVariableModel(loaded.network, loaded.spec)

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
