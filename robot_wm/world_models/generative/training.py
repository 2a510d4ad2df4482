"""Train a generating world model on raw pictures, stage by stage, in the one loop of the house."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.core.protocols import ModelSpec, spec_to_json
from robot_wm.core.storage.markdown import card, table
from robot_wm.core.storage.provenance import sha256_of
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.windows import frame_windows
from robot_wm.encoders.base import Encoder
from robot_wm.training.checkpoint import full_precision, half_precision, save_artifact
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, generators_of
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.run_log import Log
from robot_wm.world_models.base import KIND
from robot_wm.world_models.generative.config import FREE, GeneratorConfig
from robot_wm.world_models.generative.model import GenerativeModel, Generator
from robot_wm.world_models.generative.parts import Normalize
from robot_wm.world_models.generative.validation import validate

VALIDATED, MEASURED = 24, 100  # windows of held-out episodes: of films, of what else is measured


class StagedTraining(Training):
    """Networks that learn one after the other; those before are fixed at their average.

    Args:
        family: name in the manifest.
        config: see :class:`GeneratorConfig`.
        stores: data sets of one robot.
        encoder: the one that the cost ``shared`` compares with.
        spec: what the planner must know.
        target: folder of the artefact.
        network: makes the untrained networks; weights are of torch's global generator.
    """

    title, section = "world model", "train"

    def __init__(
        self, family: str, config: GeneratorConfig, stores: Sequence[EpisodeReader],
        encoder: Encoder, spec: ModelSpec, target: Path, network: Callable[[], Generator],
    ) -> None:  # fmt: skip
        self.family, self.config, self.encoder = family, config, encoder
        self.spec, self.target = spec, target
        self.hashes = [store.sha256 for store in stores]
        joint = self.hashes[0] if len(self.hashes) == 1 else sha256_of(self.hashes)
        self.parents = {"encoder": encoder.sha256, "dataset": joint}
        torch.manual_seed(config.seed)
        self.state: Averaged[Generator] = Averaged(network()).to(config.device)
        self.trained = self.live = self.state.live
        self.generators = {}
        decisive = {k: v for k, v in asdict(config).items() if k not in FREE}
        self.identity = {**decisive, "parents": self.parents}
        self.pace = Pace(
            config.total, config.log_every, config.eval_every, config.checkpoint_every,
            config.weight_decay, config.clip,
        )  # fmt: skip
        self.windows = frame_windows(stores, "train", config.window)
        if not len(self.windows):
            raise DataError(
                f"no training episode has {config.window} block frames",
                f"episodes of at least {config.window - 1} blocks",
                "collect longer episodes or train with a smaller window",
            )
        self.held_out = frame_windows(stores, "validation", spec.context + config.horizon)
        self.stage = ""
        self.last: dict[str, Any] = {}
        self.terms: Mapping[str, Tensor] = {}

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0, once in every stage."""
        stage, start = self.config.stage_of(step)
        steps = self.config.stages[stage].steps
        return warmup_cosine(self.config.lr, step - start, steps, min(self.config.warmup, steps))

    def begin(self, step: int, log: Log) -> None:
        """Fit the statistics of actions on the training split."""
        self.last = next((record for record in reversed(log.past) if "validation" in record), {})
        if not step:
            for network in (self.state.live, self.state.ema):
                for module in network.modules():
                    if isinstance(module, Normalize):
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
        device = self.config.device
        terms = self.live.losses(stage, frames.to(device), actions.to(device), generator)
        self.terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average."""
        self.state.update(self.config.ema, step - self.config.stage_of(step)[1])

    def line(self) -> dict[str, Any]:
        """Loss and terms of the last step."""
        total = torch.stack(list(self.terms.values())).sum()
        return {"loss": float(total), "terms": {k: float(v) for k, v in self.terms.items()}}

    def model(self) -> GenerativeModel:
        """The averaged model as it would be shipped now, rounded to half precision."""
        network = copy.deepcopy(self.state.ema)
        network.load_state_dict(full_precision(half_precision(network)))
        return GenerativeModel(network, self.encoder, self.spec, self.config.cost)

    def evaluate(self, step: int) -> dict[str, Any]:
        """Open-loop films of held-out episodes.

        Not in closed loop: a plan takes seconds. ``robot-wm evaluate`` does that.
        """
        if not len(self.held_out):
            return {}
        model, device = self.model(), self.config.device
        found = validate(model, *self.held_out.evenly_spaced(VALIDATED))
        frames, actions = self.held_out.evenly_spaced(MEASURED)
        with torch.inference_mode():
            found |= model.network.measure(frames.to(device), actions.to(device))
        # Where nothing moves in a handful of episodes, a share of it has no meaning.
        values = {"validation": {k: v for k, v in found.items() if math.isfinite(v)}}
        self.last = {"step": step, **values}
        return values

    def finish(self) -> Path:
        """Write the artefact."""
        network = self.model().network
        facts = {
            "family": self.family,
            "config": self.identity,
            "datasets": self.hashes,
            "parameters": sum(p.numel() for p in network.parameters()),
            "last": {k: v for k, v in self.last.items() if k != "seconds"},
        }
        described = {
            "spec": spec_to_json(self.spec), "train": asdict(self.config),
            "cost": self.config.cost,
        }  # fmt: skip
        save_artifact(
            self.target, KIND, half_precision(network), described, self.parents, facts,
            self._card(facts),
        )  # fmt: skip
        return self.target

    def _card(self, facts: Mapping[str, Any]) -> str:
        stages = ", ".join(f"{name} {s.steps:,}" for name, s in self.config.stages.items())
        measured = facts["last"].get("validation", {})
        return card(
            f"World model `{self.family}` for `{self.config.task}`",
            "Generates the pictures that follow from actions, block by block, and judges plans by "
            "how near they come to a goal image.",
            [
                f"Parents: {', '.join(f'{k} `{sha[:12]}`' for k, sha in self.parents.items())}",
                f"{facts['parameters']:,} parameters in half precision; steps: {stages}; seed "
                f"{self.config.seed}; weights are the running average at the last step",
                "Trained for this scene, camera and robot only; it has no notion of safety",
            ],
            table(
                ["held-out episodes", "value"],
                [[name, f"{value:.3f}"] for name, value in measured.items()],
            ),
        )
