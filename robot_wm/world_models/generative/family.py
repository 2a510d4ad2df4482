"""A generating world model as a family: what others ask of it without knowing how it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import ModelSpec, spec_from_json
from robot_wm.core.storage.provenance import check_parent
from robot_wm.data.formats.base import open_stores, spec_of
from robot_wm.encoders.base import load_encoder
from robot_wm.training.checkpoint import full_precision, load_artifact, load_module
from robot_wm.training.loop import fit
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.generative.config import FREE
from robot_wm.world_models.generative.model import GenerativeModel, Generator
from robot_wm.world_models.generative.training import StagedTraining

CONTEXT = 2  # frames the planner remembers, as for the house world model


class GeneratorFamily(ABC):
    """See :class:`robot_wm.world_models.base.WorldModelFamily`.

    Nothing is exported: an imagined block takes several passes through a transformer of whole
    pictures, which no robot's processor carries out within a control period.
    """

    name: str
    config: type
    free: Sequence[str] = FREE

    @abstractmethod
    def network(self, config: Any, spec: ModelSpec) -> Generator:
        """The untrained networks."""

    def train(
        self, config: Any, data: TrainingData, out: Path, evaluate: Evaluate | None = None
    ) -> Path:
        """Train on raw pictures; latents are never asked for, nor is closed-loop success."""
        stores = open_stores(config.task, data.datasets)
        encoder = load_encoder(data.encoder)
        spec = spec_of(stores[0], CONTEXT, config.horizon)
        return fit(
            lambda: StagedTraining(
                self.name, config, stores, encoder, spec, Path(out) / KIND,
                lambda: self.network(config, spec),
            ),
            out,
        )  # fmt: skip

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> GenerativeModel:
        """Load a stored model; it can always show what it imagines."""
        encoder = load_encoder(encoder_folder)
        tensors, stored, manifest = load_artifact(folder, KIND)
        check_parent(manifest, "encoder", encoder.sha256)
        try:
            spec = spec_from_json(stored["spec"])
            network = self.network(build(self.config, stored["train"], "train"), spec)
            kind = cost or stored["cost"]
        except (KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error}",
                f"the keys of {self.config.__name__} and ModelSpec",
                "train the world model again",
            ) from error
        load_module(network, full_precision(tensors), str(folder))
        network.requires_grad_(False)
        hashes = {**manifest["parents"], KIND: manifest["sha256"]}
        return GenerativeModel(network, encoder, replace(spec, hashes=hashes), kind)
