"""The part of a training on raw frames that does not depend on the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robot_wm.core.protocols import ModelSpec
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.formats.base import open_stores, spec_of
from robot_wm.data.windows import frame_windows
from robot_wm.encoders.base import load_encoder
from robot_wm.training.run_log import Log, Window
from robot_wm.world_models.base import KIND, Evaluate, TrainingData
from robot_wm.world_models.pixels.config import FREE, TakesParts
from robot_wm.world_models.pixels.frames import to_canvas
from robot_wm.world_models.pixels.measures import open_loop
from robot_wm.world_models.pixels.model import DrawingModel
from robot_wm.world_models.stored import take_over
from robot_wm.world_models.training import FamilyTraining


class DrawingTraining(FamilyTraining):
    """A network that learns from windows of raw frames.

    Args:
        family: name, for the manifest.
        make: the untrained network, of a configuration and what the planner must know.
        shipped: what a network becomes.
        config: of the family.
        data: data sets and the folder of the encoder, whose hash is kept.
        target: folder of the artefact.
        closed_loop: see :meth:`robot_wm.world_models.base.WorldModelFamily.train`.

    Attributes:
        described: key of the configuration in the artefact's ``config.json``.
    """

    described: ClassVar[str] = "train"
    free = FREE

    def __init__(
        self, family: str, make: Callable[[Any, ModelSpec], Any],
        shipped: type[DrawingModel[Any, Any]], config: Any, data: TrainingData, target: Path,
        closed_loop: Evaluate | None = None,
    ) -> None:  # fmt: skip
        self.make, self.shipped, self.encoder = make, shipped, load_encoder(data.encoder)
        stores = open_stores(config.task, data.datasets)
        spec = spec_of(stores[0], self.context(config), config.horizon, self.needed(config))
        self.parts_of = config.parts_of if isinstance(config, TakesParts) else ""
        taken = read_manifest(Path(self.parts_of), KIND)["sha256"] if self.parts_of else ""
        parents = {"parts": taken} if taken else {}
        encoder = self.encoder.sha256
        super().__init__(family, config, stores, encoder, spec, target, closed_loop, parents)

    @staticmethod
    def context(config: Any) -> int:
        """Frames of history that the model can use."""
        return 2

    @staticmethod
    def needed(config: Any) -> int:
        """Bytes that a candidate needs while it is imagined; 0 if unknown."""
        return 0

    def untrained(self) -> Any:
        """The network before its first step, with what it takes over."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            network = self.make(self.config, self.spec)
        if self.parts_of:
            take_over(network, Path(self.parts_of), self.config.PARTS, self.spec)
        return network

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network as it would be shipped now."""

    def model(self) -> DrawingModel[Any, Any]:
        """The model as it would be shipped now."""
        return self.shipped(self.network, self.encoder, self.spec, self.config.cost)


class PixelTraining(DrawingTraining):
    """A network of the canvas, with a buffer ``backdrop [3, 64, 64]``; its weights are shipped."""

    described = "config"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Asked once, of what is shipped: the last stage is what can be planned with.
        self.asked_at_last, self.closed_loop = self.closed_loop, None
        self.state = self.trained = self.untrained().to(self.config.device)
        self.parts = Window()

    @staticmethod
    def needed(config: Any) -> int:
        """See the base."""
        return 64 * 1024 * int(config.horizon)

    @property
    def network(self) -> nn.Module:
        """What has learned."""
        return self.state

    def begin(self, step: int, log: Log) -> None:
        """Open the windows; the mean training frame is fitted once, or is taken over."""
        super().begin(step, log)
        self.windows = frame_windows(self.stores, "train", self.config.window)
        some = self.windows.evenly_spaced(64)
        if not step and not self.parts_of:
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

    def validate(self) -> Mapping[str, float]:
        """Open-loop errors on held-out windows, and what the network measures of itself."""
        if self.held_out is None:
            return {}
        found = open_loop(self.model(), self.held_out, self.config.horizon)
        frames, actions = (part.to(self.config.device) for part in self.held_out)
        network: Any = self.network
        found |= network.measure(frames, actions)
        return {name: round(value, 4) for name, value in found.items()}

    def settle(self) -> Mapping[str, Any]:
        """What is left to do when all steps are taken; returns facts for the manifest."""
        return {}

    def finish(self) -> Path:
        """Write the artefact."""
        facts, steps = dict(self.settle()), self.config.total
        if self.asked_at_last is not None:
            facts["closed_loop"] = dict(self.asked_at_last(self.model()))
            self.log.write(steps, closed_loop=facts["closed_loop"])
        count = sum(p.numel() for p in self.state.parameters())
        return self.save(
            self.state.state_dict(), {self.described: asdict(self.config)}, count,
            f", {steps:,} steps, seed {self.config.seed}", **facts,
        )  # fmt: skip
