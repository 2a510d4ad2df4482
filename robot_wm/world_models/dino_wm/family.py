"""DINO-WM as a family; it is trained on the latent cache of the frozen encoder."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch

from robot_wm.core.images import Size
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.latent_cache import LatentStore
from robot_wm.data.sequences import usable
from robot_wm.data.windows import Rows
from robot_wm.encoders.base import Encoder
from robot_wm.world_models.base import TrainingData
from robot_wm.world_models.causal.family import CausalFamily
from robot_wm.world_models.dino_wm.network import DinoWMConfig, DinoWMNetwork

FITTED = 60  # episodes


class DinoWMFamily(CausalFamily):
    """See the module's text and :class:`DinoWMNetwork`."""

    name, config = "dino_wm", DinoWMConfig

    def network(
        self, config: DinoWMConfig, image_size: Size, action: int, encoder: Encoder
    ) -> DinoWMNetwork:
        """Over the frozen encoder."""
        return DinoWMNetwork(config, copy.deepcopy(encoder), action)

    def rows(self, stores: Sequence[EpisodeReader], data: TrainingData, encoder: Encoder) -> Rows:
        """Cached tokens, as memory maps."""
        caches = [
            LatentStore(data.latents(path), store, encoder.sha256)
            for path, store in zip(data.datasets, stores, strict=True)
        ]
        return lambda number, index: caches[number].latents_of(index)

    def fit(self, network: DinoWMNetwork, rows: Rows, stores: Sequence[EpisodeReader]) -> None:
        """Offset and scale of the tokens."""
        places = [(n, i) for n, store in enumerate(stores) for i in usable(store, "train")]
        chosen = places[:: max(1, len(places) // FITTED)]
        if chosen:  # where there is none, drawing the first window says so
            tokens = np.concatenate([rows(*place) for place in chosen])
            network.fit(torch.from_numpy(tokens))


FAMILY = DinoWMFamily()
