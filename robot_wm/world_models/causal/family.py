"""A causal predictor as a family: what others ask of it without knowing how it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.images import Size
from robot_wm.core.protocols import spec_from_json
from robot_wm.core.storage.provenance import check_parent
from robot_wm.data.formats.base import EpisodeReader, open_stores, spec_of
from robot_wm.data.windows import Rows
from robot_wm.encoders.base import Encoder, load_encoder
from robot_wm.training.checkpoint import load_artifact, load_module
from robot_wm.training.loop import fit
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.causal.config import FREE, CausalConfig
from robot_wm.world_models.causal.model import CausalModel
from robot_wm.world_models.causal.network import CausalNetwork
from robot_wm.world_models.causal.training import CausalTraining
from robot_wm.world_models.jepa.visualization import SHEET, read_sheet


class CausalFamily(ABC):
    """See :class:`robot_wm.world_models.base.WorldModelFamily`."""

    name: ClassVar[str]
    config: type[Any]
    free: Sequence[str] = FREE

    @abstractmethod
    def network(
        self, config: Any, image_size: Size, action: int, encoder: Encoder
    ) -> CausalNetwork:
        """The network before its training, from torch's global generator.

        Args:
            image_size: of the pictures [px].
            action: size of a block of actions.
            encoder: the run's frozen encoder.
        """

    @abstractmethod
    def rows(self, stores: Sequence[EpisodeReader], data: TrainingData, encoder: Encoder) -> Rows:
        """What frames of episodes are in training."""

    def fit(self, network: Any, rows: Rows, stores: Sequence[EpisodeReader]) -> None:  # noqa: B027
        """Fit what is fixed to training data, before the first step; most fit nothing."""

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
        make = partial(self._training, config, stores, rows, encoder, target, evaluate)
        return fit(make, out)

    def _training(
        self,
        config: CausalConfig,
        stores: Sequence[EpisodeReader],
        rows: Rows,
        encoder: Encoder,
        target: Path,
        evaluate: Evaluate | None,
    ) -> CausalTraining:
        schema = stores[0].schema
        action = len(schema.control_low) * schema.frame_every
        torch.manual_seed(config.seed)  # within `fit`, which gives torch's generator back
        network = self.network(config, schema.image_size, action, encoder)
        self.fit(network, rows, stores)
        needed = 4 * (network.activations + config.horizon * network.latent)
        spec = spec_of(stores[0], 2, config.horizon, needed)
        return CausalTraining(
            self.name, config, spec, network, stores, rows, encoder.sha256, target, evaluate
        )

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> CausalModel:
        """Load a stored model; illustrated with the training frames beside it.

        Raises:
            WeightsError: missing, altered or misshapen weights.
            DataError: the encoder is not the one of this model's run.
            ConfigError: a cost other than ``latent``.
        """
        if cost not in ("", "latent"):
            raise ConfigError(f"cost {cost!r} of a {self.name}", "latent", "leave it empty")
        encoder = load_encoder(encoder_folder)
        tensors, described, manifest = load_artifact(folder, KIND)
        check_parent(manifest, "encoder", encoder.sha256)
        try:
            config = build(self.config, described["train"], "train")
            spec = spec_from_json(described["spec"])
            with torch.random.fork_rng(devices=[]):
                network = self.network(config, spec.image_size, spec.action_dim, encoder)
        except (KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error}",
                f"the keys of {self.config.__name__} and ModelSpec", "train the world model again",
            ) from error  # fmt: skip
        load_module(network, {**network.frozen_state(), **tensors}, str(folder))
        network.requires_grad_(False)
        spec = replace(spec, hashes={**manifest["parents"], KIND: manifest["sha256"]})
        sheet = Path(folder) / SHEET
        shown = illustrate and sheet.is_file()
        frames = read_sheet(sheet, spec.image_size) if shown else None
        return CausalModel(network, spec, config.chunk, frames)
