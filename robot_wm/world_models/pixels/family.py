"""A model that draws pictures as a family: its parts, told to one class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from robot_wm.core.config import build
from robot_wm.core.protocols import ModelSpec
from robot_wm.encoders.base import load_encoder
from robot_wm.training.loop import fit
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.pixels.config import FREE
from robot_wm.world_models.pixels.model import DrawingModel
from robot_wm.world_models.pixels.training import DrawingTraining
from robot_wm.world_models.stored import load_network


class PixelFamily:
    """See :class:`robot_wm.world_models.base.WorldModelFamily`.

    Args:
        name: in the registry and in manifests.
        config: dataclass of a training.
        network: the untrained network, of a configuration and what the planner must know.
        model: what a network becomes.
        training: how it is trained.
    """

    def __init__(
        self, name: str, config: Any, network: Callable[[Any, ModelSpec], nn.Module],
        model: type[DrawingModel[Any, Any]], training: type[DrawingTraining],
    ) -> None:  # fmt: skip
        self.name, self.config, self.network = name, config, network
        self.free = tuple(key for key in FREE if key in config.__dataclass_fields__)
        self.model, self.training = model, training
        self.proposes = hasattr(model, "propose")

    def begin(
        self, config: Any, data: TrainingData, out: Path, evaluate: Evaluate | None = None
    ) -> DrawingTraining:
        """The training before its first step; see :meth:`train`."""
        made = self.name, self.network, self.model
        return self.training(*made, config, data, Path(out) / KIND, evaluate)

    def train(
        self, config: Any, data: TrainingData, out: Path, evaluate: Evaluate | None = None
    ) -> Path:
        """Train on the raw frames of all data sets; the encoder is only named."""
        return fit(partial(self.begin, config, data, out, evaluate), out)

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> Any:
        """Load a stored model; it can always draw what it imagines."""
        encoder, section = load_encoder(encoder_folder), self.training.described

        def make(stored: Mapping[str, Any], spec: ModelSpec) -> tuple[nn.Module, str]:
            config: Any = build(self.config, stored[section], section)
            return self.network(config, spec), cost or config.cost

        network, kind, spec = load_network(folder, encoder.sha256, make, self.config)
        return self.model(network, encoder, spec, kind)
