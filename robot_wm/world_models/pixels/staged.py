"""Train a generating world model on raw pictures, stage by stage."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.data.windows import frame_windows
from robot_wm.training.checkpoint import full_precision, half_precision
from robot_wm.training.loop import generators_of
from robot_wm.training.run_log import Log
from robot_wm.world_models.pixels.generator import GenerativeModel, Generator
from robot_wm.world_models.pixels.measures import validate
from robot_wm.world_models.pixels.training import DrawingTraining
from robot_wm.world_models.standardizer import Standardizer
from robot_wm.world_models.training import AveragedTraining

VALIDATED, MEASURED = 24, 100  # windows of held-out episodes: of films, of what else is measured


class StagedTraining(DrawingTraining, AveragedTraining[Generator]):
    """Networks that learn one after the other; those before are fixed at their average."""

    about = (
        "Generates the pictures that follow from actions, block by block, and judges plans by "
        "how near they come to a goal image."
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.closed_loop = None  # a plan takes seconds: `robot-wm evaluate` does that
        self.average(self.untrained())
        c = self.config
        self.windows = frame_windows(self.stores, "train", c.window)
        if not len(self.windows):
            raise DataError(
                f"no training episode has {c.window} block frames",
                f"episodes of at least {c.window - 1} blocks",
                "collect longer episodes or train with a smaller window",
            )
        self.held_out = frame_windows(self.stores, "validation", self.spec.context + c.horizon)
        self.stage = ""

    def begin(self, step: int, log: Log) -> None:
        """Fit the statistics of actions on the training split."""
        super().begin(step, log)
        if not step:
            for network in (self.state.live, self.state.ema):
                for module in network.modules():
                    if isinstance(module, Standardizer):
                        module.fit(np.concatenate(self.windows.actions))

    def loss(self, step: int) -> Tensor:
        """Sum of the terms of the step's stage."""
        rng, generator = generators_of(self.config.seed, step)
        stage, start = self.config.stage_of(step)
        if stage != self.stage:
            if first := step == start + 1:
                self.live.load_state_dict(self.state.ema.state_dict())
            self.live.prepare(stage, self.windows, first)
            self.stage = stage
        frames, actions = self.windows.draw(self.config.stages[stage].windows, rng)
        batch = frames.to(self.config.device), actions.to(self.config.device)
        return self.summed(self.live.losses(stage, *batch, generator))

    @property
    def network(self) -> Generator:
        """The average, rounded to half precision."""
        network = copy.deepcopy(self.state.ema)
        network.load_state_dict(full_precision(half_precision(network)))
        return network

    def validate(self) -> Mapping[str, float]:
        """Open-loop films of held-out episodes."""
        if not len(self.held_out):
            return {}
        model, device = self.model(), self.config.device
        assert isinstance(model, GenerativeModel)  # what a generator becomes
        found = validate(model, *self.held_out.evenly_spaced(VALIDATED))
        frames, actions = self.held_out.evenly_spaced(MEASURED)
        with torch.inference_mode():
            return found | model.network.measure(frames.to(device), actions.to(device))

    def finish(self) -> Path:
        """Write the artefact."""
        c, network = self.config, self.network
        stages = ", ".join(f"{name} {s.steps:,}" for name, s in c.stages.items())
        return self.save(
            half_precision(network), {self.described: asdict(c), "cost": c.cost},
            sum(p.numel() for p in network.parameters()),
            f" in half precision; steps: {stages}; seed {c.seed}; weights are the running average "
            "at the last step",
        )  # fmt: skip
