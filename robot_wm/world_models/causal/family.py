"""A causal predictor as a family: what others ask of it without knowing how it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import ModelSpec
from robot_wm.data.formats.base import EpisodeReader, open_stores, spec_of
from robot_wm.data.latent_cache import LatentStore
from robot_wm.data.sequences import usable
from robot_wm.data.windows import Rows
from robot_wm.encoders.base import Encoder, load_encoder
from robot_wm.training.loop import fit
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.causal.config import CausalConfig
from robot_wm.world_models.causal.model import CausalModel, LatentModel
from robot_wm.world_models.causal.network import CausalNetwork
from robot_wm.world_models.causal.training import CausalTraining
from robot_wm.world_models.config import FREE
from robot_wm.world_models.jepa.visualization import SHEET, read_sheet
from robot_wm.world_models.stored import load_network

CONTEXT = 2  # frames the planner remembers, as for the house world model
FITTED = 60  # episodes


class CausalFamily(ABC):
    """See :class:`robot_wm.world_models.base.WorldModelFamily`."""

    name: ClassVar[str]
    config: type[Any]
    free: Sequence[str] = FREE
    proposes = False
    training: type[CausalTraining] = CausalTraining

    @abstractmethod
    def network(self, config: Any, spec: ModelSpec, encoder: Encoder) -> CausalNetwork:
        """The network before its training, from torch's global generator.

        Args:
            encoder: the run's frozen encoder.
        """

    @abstractmethod
    def rows(self, stores: Sequence[EpisodeReader], data: TrainingData, encoder: Encoder) -> Rows:
        """What frames of episodes are in training."""

    def fit(self, network: Any, rows: Rows, stores: Sequence[EpisodeReader]) -> Rows:
        """Fit what is fixed to training data, before the first step; most fit nothing.

        Returns:
            What the network learns from, if not from ``rows``.
        """
        return rows

    def model(
        self, network: Any, spec: ModelSpec, frames: np.ndarray | None = None
    ) -> LatentModel[Any]:
        """What a trained network becomes; illustrated with ``frames`` where it can be."""
        return CausalModel(network, spec, network.config.chunk, frames)

    def train(
        self,
        config: CausalConfig,
        data: TrainingData,
        out: Path,
        evaluate: Evaluate | None = None,
    ) -> Path:
        """Train and write ``out/world_model``; an interrupted training goes on.

        Raises:
            DataError: another task or robot, or no window long enough.
            WeightsError: ``out`` holds a run with another configuration.
        """
        encoder = load_encoder(data.encoder)
        stores = open_stores(config.task, data.datasets)
        rows = self.rows(stores, data, encoder)
        target = Path(out) / KIND
        return fit(partial(self.begin, config, stores, rows, encoder, target, evaluate), out)

    def begin(
        self,
        config: CausalConfig,
        stores: Sequence[EpisodeReader],
        rows: Rows,
        encoder: Encoder,
        target: Path,
        evaluate: Evaluate | None,
    ) -> CausalTraining:
        """The training before its first step; see :meth:`train`."""
        spec = spec_of(stores[0], CONTEXT, config.horizon)
        torch.manual_seed(config.seed)  # within `fit`, which gives torch's generator back
        network = self.network(config, spec, encoder)
        seen = self.fit(network, rows, stores)
        spec = replace(spec, bytes_per_candidate=4 * network.numbers(config.horizon))
        return self.training(
            self.name, config, spec, network, self.model, stores, seen, encoder.sha256, target,
            evaluate,
        )  # fmt: skip

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> LatentModel[Any]:
        """Load a stored model; illustrated with the training frames beside it.

        Raises:
            WeightsError: missing, altered or misshapen weights.
            DataError: the encoder is not the one of this model's run.
            ConfigError: a cost other than ``latent``.
        """
        if cost not in ("", "latent"):
            raise ConfigError(f"cost {cost!r} of a {self.name}", "latent", "leave it empty")
        encoder = load_encoder(encoder_folder)

        def make(stored: Mapping[str, Any], spec: ModelSpec) -> tuple[CausalNetwork, None]:
            return self.network(build(self.config, stored["train"], "train"), spec, encoder), None

        network, _, spec = load_network(folder, encoder.sha256, make, self.config)
        sheet = Path(folder) / SHEET
        shown = illustrate and sheet.is_file()
        return self.model(network, spec, read_sheet(sheet, spec.image_size) if shown else None)


class TokenFamily(CausalFamily):
    """A predictor over the frozen encoder, trained on the latent cache."""

    def rows(self, stores: Sequence[EpisodeReader], data: TrainingData, encoder: Encoder) -> Rows:
        """Cached tokens ``[F, P, D]``, as memory maps."""
        caches = [
            LatentStore(data.latents(path), store, encoder.sha256)
            for path, store in zip(data.datasets, stores, strict=True)
        ]
        return lambda number, index: caches[number].latents_of(index)

    def fit(self, network: Any, rows: Rows, stores: Sequence[EpisodeReader]) -> Rows:
        """Have the network fit what is fixed to tokens of about sixty training episodes."""
        places = [(n, i) for n, store in enumerate(stores) for i in usable(store, "train")]
        chosen = places[:: max(1, len(places) // FITTED)]
        if chosen:  # where there is none, drawing the first window says so
            network.fit(torch.from_numpy(np.concatenate([rows(*place) for place in chosen])))
        return rows
