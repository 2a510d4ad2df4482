"""The part of a training on raw frames that does not depend on the model, and its artefact."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from robot_wm.core.config import (
    Count,
    Device,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    build,
    check_fields,
)
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import ModelSpec, spec_from_json, spec_to_json
from robot_wm.core.storage.markdown import card, table
from robot_wm.core.storage.provenance import check_parent, sha256_of
from robot_wm.data.formats.base import open_stores, spec_of
from robot_wm.data.windows import frame_windows
from robot_wm.encoders.base import load_encoder
from robot_wm.training.checkpoint import load_artifact, load_module, save_artifact
from robot_wm.training.loop import Pace, Training, fit
from robot_wm.training.run_log import Log, Window
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.pixels.frames import to_canvas
from robot_wm.world_models.pixels.measures import open_loop
from robot_wm.world_models.pixels.model import PixelModel

FREE = ("threads", "eval_every", "checkpoint_every", "log_every", "device")


@dataclass(frozen=True)
class PixelConfig:
    """What every training on raw frames can be told.

    Attributes:
        task: must be the data set's.
        window: block frames of a training sequence.
        horizon: blocks of a plan.
        foreground: extra weight of pixels unlike the mean frame, see ``frames.pixel_loss``.
        clip: largest gradient norm.
        cost: the shipped model's step cost: native, pixels or shared (``pixels.model``).
        held_out: validation windows that open-loop errors are measured on; 0 measures none.
        seed, threads, device: of torch; the command line sets the threads, here they are recorded.
        eval_every, checkpoint_every, log_every: in steps.

    Raises:
        ConfigError: a value outside its range.
    """

    task: str
    window: Annotated[int, Within(3, 4096)] = 16
    horizon: Annotated[int, Within(1, 100)] = 5
    foreground: NonNegative = 10.0
    clip: Positive = 100.0
    cost: Literal["native", "pixels", "shared"] = "native"
    held_out: Natural = 64
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 2
    device: Device = "cpu"
    eval_every: Count = 1000
    checkpoint_every: Count = 500
    log_every: Count = 100

    def __post_init__(self) -> None:
        check_fields(self)
        if self.window <= self.horizon:
            raise ConfigError(
                f"window {self.window} with horizon {self.horizon}", "a longer window",
                "raise train.window",
            )  # fmt: skip

    @property
    def total(self) -> int:
        """Optimiser steps of all stages."""
        raise NotImplementedError


class PixelTraining(Training):
    """A network that learns from windows of raw frames.

    Args:
        config: of the family.
        data: data sets and the folder of the encoder, whose hash is kept.
        target: folder of the artefact.
        closed_loop: see :meth:`robot_wm.world_models.base.WorldModelFamily.train`.
    """

    title, section = "train", "train"
    name: ClassVar[str]
    about: ClassVar[str]

    def __init__(
        self, config: Any, data: TrainingData, target: Path, closed_loop: Evaluate | None = None
    ) -> None:
        self.config, self.target, self.closed_loop = config, target, closed_loop
        self.encoder = load_encoder(data.encoder)
        self.stores = open_stores(config.task, data.datasets)
        self.hashes = [store.sha256 for store in self.stores]
        joint = self.hashes[0] if len(self.hashes) == 1 else sha256_of(self.hashes)
        self.parents = {"encoder": self.encoder.sha256, "dataset": joint}
        self.spec = spec_of(
            self.stores[0], self.context(config), config.horizon, 64 * 1024 * config.horizon
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.state = self.trained = self.network(config, self.spec).to(config.device)
        self.generators = {}
        self.decisive = {k: v for k, v in asdict(config).items() if k not in FREE}
        self.identity = {**self.decisive, "parents": self.parents}
        self.pace = Pace(
            config.total, config.log_every, config.eval_every, config.checkpoint_every, 0.0,
            config.clip,
        )  # fmt: skip
        self.parts = Window()
        self.last: dict[str, Any] = {}

    @staticmethod
    def context(config: Any) -> int:
        """Frames of history that the model can use."""
        return 2

    @staticmethod
    @abstractmethod
    def network(config: Any, spec: ModelSpec) -> nn.Module:
        """The parts that learn, with a buffer ``backdrop [3, 64, 64]``."""

    @abstractmethod
    def model(self) -> PixelModel[Any, Any]:
        """The model as it would be shipped now."""

    def begin(self, step: int, log: Log) -> None:
        """Open the windows; the mean training frame is fitted once."""
        self.windows = frame_windows(self.stores, "train", self.config.window)
        some = self.windows.evenly_spaced(64)
        if not step:
            images = to_canvas(some.frames.flatten(0, 1))
            self.state.get_buffer("backdrop").copy_(images.mean(dim=0))
        held_out = frame_windows(self.stores, "validation", self.config.window)
        measured = self.config.held_out and len(held_out)
        self.held_out = held_out.evenly_spaced(self.config.held_out) if measured else None
        self.log = log

    def told(self, loss: Tensor, **parts: Tensor) -> Tensor:
        """Take a step's numbers down for the log; returns the loss."""
        told = {"loss": loss, **parts}
        self.parts.add({name: float(value.detach()) for name, value in told.items()})
        return loss

    def line(self) -> Mapping[str, Any]:
        """Means since the last line."""
        return self.parts.flush()

    def evaluate(self, step: int) -> Mapping[str, Any]:
        """Open-loop errors on held-out windows."""
        if self.held_out is None:
            return {}
        found = open_loop(self.model(), self.held_out, self.config.horizon)
        self.last = {k: round(v, 4) for k, v in found.items() if math.isfinite(v)}
        return {"validation": self.last}

    def settle(self) -> Mapping[str, Any]:
        """What is left to do when all steps are taken; returns facts for the manifest."""
        return {}

    def finish(self) -> Path:
        """Write the artefact."""
        facts = {
            "family": self.name,
            "config": self.decisive,
            "datasets": self.hashes,
            "parameters": sum(p.numel() for p in self.state.parameters()),
            "validation": self.last,
            **self.settle(),
        }
        if self.closed_loop is not None:
            facts["closed_loop"] = dict(self.closed_loop(self.model()))
            self.log.write(self.config.total, closed_loop=facts["closed_loop"])
        told = card(
            f"World model for `{self.config.task}`: {self.name}", self.about,
            [
                f"Parents: {', '.join(f'{k} `{sha[:12]}`' for k, sha in self.parents.items())}",
                f"{facts['parameters']:,} parameters, seed {self.config.seed}",
                "Trained for this scene, camera and robot only; it has no notion of safety",
            ],
            table(["held-out episodes", "value"], [[k, f"{v}"] for k, v in self.last.items()]),
        )  # fmt: skip
        stored = {"spec": spec_to_json(self.spec), "config": asdict(self.config)}
        tensors = self.state.state_dict()
        save_artifact(self.target, KIND, tensors, stored, self.parents, facts, told)
        return self.target


class PixelFamily:
    """See :class:`robot_wm.world_models.base.WorldModelFamily`.

    Args:
        config: dataclass of a training.
        training: how it is trained; its ``name`` is the family's.
        model: what a network becomes.
    """

    free = FREE

    def __init__(
        self, config: type, training: type[PixelTraining], model: type[PixelModel[Any, Any]]
    ) -> None:
        self.name, self.config, self.training, self.model = training.name, config, training, model

    def train(
        self, config: Any, data: TrainingData, out: Path, evaluate: Evaluate | None = None
    ) -> Path:
        """Train on the raw frames of all data sets; the encoder is only named."""
        return fit(partial(self.training, config, data, Path(out) / KIND, evaluate), Path(out))

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> Any:
        """Load a stored model; it can always draw what it imagines."""
        encoder = load_encoder(encoder_folder)
        tensors, stored, manifest = load_artifact(folder, KIND)
        check_parent(manifest, "encoder", encoder.sha256)
        try:
            config: Any = build(self.config, stored["config"], "config")
            spec = spec_from_json(stored["spec"])
            network = self.training.network(config, spec)
        except (KeyError, TypeError, ConfigError) as error:
            raise WeightsError(
                f"{folder} has an unusable configuration: {error}",
                f"the keys of {self.config.__name__} and ModelSpec", "train the world model again",
            ) from error  # fmt: skip
        load_module(network, tensors, str(folder))
        hashes = {**manifest["parents"], KIND: manifest["sha256"]}
        network.requires_grad_(False)
        return self.model(network, encoder, replace(spec, hashes=hashes), cost or config.cost)
