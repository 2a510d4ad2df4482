"""Train the world model on cached latents: projector, predictor, proposer and goal distance.

It goes through the stages of :mod:`robot_wm.world_models.jepa.training.stages`, in the one loop
that all trainings share.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import check_parent, read_manifest
from robot_wm.data.sequences import (
    Pair,
    SequenceDataset,
    block_actions,
    open_pairs,
    sample_tokens,
    usable,
)
from robot_wm.encoders.base import Encoder
from robot_wm.training.checkpoint import full_precision, half_precision
from robot_wm.training.loop import fit, generators_of
from robot_wm.training.run_log import Log
from robot_wm.world_models.base import Evaluate
from robot_wm.world_models.jepa.artifact import (
    ABOUT,
    build_spec,
    how_trained,
    load_submodules,
    taught_cost,
)
from robot_wm.world_models.jepa.model import KIND, NAME, JEPAWorldModel
from robot_wm.world_models.jepa.training.config import FREE, TrainConfig
from robot_wm.world_models.jepa.training.objective import TrainingModule
from robot_wm.world_models.jepa.training.stages import Stage
from robot_wm.world_models.jepa.visualization import SHEET, contact_sheet
from robot_wm.world_models.stored import check_robot
from robot_wm.world_models.training import AveragedTraining


def train(
    config: TrainConfig,
    dataset: Path | Sequence[Path],
    latents: Path | Sequence[Path],
    encoder: Encoder,
    out: Path,
    evaluate: Evaluate | None = None,
    resume: bool = True,
) -> Path:
    """Train, and write ``out/world_model`` (artefact), ``out/log.jsonl`` and ``out/state``.

    The last weight average is shipped, not the best one seen: choosing by closed-loop success on
    few episodes would report its own luck. Every evaluation is in the log.

    Args:
        config: see :class:`TrainConfig`.
        dataset, latents: one data set with its latent cache, or several of the same task.
        encoder: the one the latents were made with.
        out: run folder.
        evaluate: closed-loop success of the current model, called every ``eval_every`` steps.
        resume: go on from ``out/state`` where there is one.

    Returns:
        The artefact folder.

    Raises:
        DataError: latents of another encoder or data set, another task, no window long enough,
            another number of data sets than of ``config.dataset_weights``.
        WeightsError: ``out`` holds a run with another configuration.
        ConfigError: the loss is not finite any more.
        StorageError: the disk is full, or another process trains into ``out``.
    """
    pairs = open_pairs(config.task, _listed(dataset), _listed(latents), encoder.sha256)
    if len(config.dataset_weights) not in (0, len(pairs)):
        raise DataError(
            f"{len(config.dataset_weights)} shares for {len(pairs)} data sets",
            "one for each, or none",
            "correct `train.dataset_weights`",
        )
    make = partial(WorldModelTraining, config, pairs, encoder, Path(out) / KIND, evaluate)
    return fit(make, out, resume)


class WorldModelTraining(AveragedTraining[TrainingModule]):
    """The network and its training heads, learning from windows of latents, stage after stage.

    Args:
        config: see :class:`TrainConfig`.
        pairs: data sets with their latent caches.
        encoder: the one the latents were made with.
        target: folder of the artefact.
        evaluate: see :func:`train`.
    """

    titled, about, free = "World model for `{task}`", ABOUT, FREE
    config: TrainConfig

    def __init__(
        self,
        config: TrainConfig,
        pairs: list[Pair],
        encoder: Encoder,
        target: Path,
        evaluate: Evaluate | None,
    ) -> None:
        self.pairs, self.encoder, parents = pairs, encoder, dict[str, str]()
        self.kept, self.cost = dict[str, Any](), config.cost
        if config.latent_of:
            manifest = read_manifest(Path(config.latent_of), KIND)
            check_parent(manifest, "encoder", encoder.sha256)
            parents["latent"] = manifest["sha256"]
            if config.fine_tune and (cost := taught_cost(Path(config.latent_of))):
                # What taught its actor goes on describing it, and so does the cost chosen there.
                self.kept = {"actor": {**manifest["facts"].get("actor", {}), "tuned": True}}
                self.cost = cost
        spec, sizes = build_spec(config, pairs, encoder)
        if config.fine_tune:
            check_robot(Path(config.latent_of), spec)
        stores = [store for store, _ in pairs]
        super().__init__(NAME, config, stores, encoder.sha256, spec, target, evaluate, parents)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            live = TrainingModule(sizes, config, spec.control_dim)
        self.average(live)
        self.ema = self.state.ema
        self.stage: Stage | None = None

    def begin(self, step: int, log: Log) -> None:
        """Fit the fixed parts on the training split, then hold its windows in memory."""
        super().begin(step, log)
        c = self.config
        if not step:
            self._fit()
        network = copy.deepcopy(self.live.network).cpu().eval()
        reduce, fixed = network.reduce, network.projector if not c.steps else None
        shape = (c.window, c.horizon, c.goal_range, c.demonstration_noise, c.device)
        self.windows = SequenceDataset(
            self.pairs, "train", reduce, *shape, c.dataset_weights, fixed
        )
        held_out = SequenceDataset(self.pairs, "validation", reduce, *shape)
        if not len(self.windows):
            raise DataError(
                f"no training episode has {c.window} block frames",
                f"episodes of at least {c.window - 1} blocks",
                "collect longer episodes or train with a smaller window",
            )
        rng = np.random.default_rng(c.seed)
        self.held_out = held_out.evenly_spaced(512, rng) if len(held_out) else None

    def _fit(self) -> None:
        c = self.config
        rows = [block_actions(s, i) for s in self.stores for i in usable(s, "train")]
        network = copy.deepcopy(self.live.network).cpu()
        guide, scale = self.live.guide.scale, network.predictor.scale
        scale.fit(np.concatenate(rows) if rows else np.zeros((0, 1)))
        for other in (network.proposer.scale, guide):
            other.load_state_dict(scale.state_dict())
        if c.latent_of:
            explained = load_submodules(
                network, Path(c.latent_of), not c.embedding_steps, c.fine_tune
            )
        else:
            explained = network.reduce.fit(sample_tokens(self.pairs, 3_000))
        for trainee in (self.live, self.ema):
            trainee.explained.fill_(explained)
            trainee.network.load_state_dict(network.state_dict())
            trainee.guide.scale.load_state_dict(guide.state_dict())

    def _enter(self, stage: Stage, first: bool) -> None:
        """Begin a stage or, after a restart, go on with it.

        What the stages before have trained is fixed at its average.

        Args:
            stage: what is trained from now on.
            first: whether it begins.
        """
        net, order = self.ema.network, self.config.stages
        ended = order.index(self.stage) if self.stage else 0
        for before in order[ended : order.index(stage)]:
            before.end(net, self.windows)
        stage.begin(net, self.windows, first)
        if first:
            self.live.load_state_dict(self.ema.state_dict())
        self.stage = stage

    def loss(self, step: int) -> Tensor:
        """Sum of the terms of the step's stage."""
        rng, generator = generators_of(self.config.seed, step)
        stage, start = self.config.stage_of(step)
        if stage is not self.stage:
            self._enter(stage, first=step == start + 1)
        return self.summed(stage.loss(self.live, self.windows, step - start, rng, generator))

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average; in the end, towards what fine-tuning began with."""
        super().after_step(step, norm)
        if step == self.config.total and self.config.interpolation:
            self._interpolate()

    def _interpolate(self) -> None:
        """Average what was tuned with what tuning began with, see ``TrainConfig.interpolation``."""
        began = copy.deepcopy(self.ema.network).cpu()
        load_submodules(began, Path(self.config.latent_of), embedded=True, whole=True)
        both = zip(self.ema.network.parameters(), began.parameters(), strict=True)
        for weight, first in both:
            weight.data.lerp_(first.data.to(weight), self.config.interpolation)

    def model(self) -> JEPAWorldModel:
        """The averaged model as it would be shipped now, rounded to half precision."""
        network = copy.deepcopy(self.ema.network)
        network.load_state_dict(full_precision(half_precision(network)))
        return JEPAWorldModel(network, self.encoder, self.spec, self.cost)

    @property
    def plans(self) -> bool:
        """Whether there is something to plan with."""
        assert self.stage is not None  # a step was taken
        return self.stage.plans

    def validate(self) -> Mapping[str, float]:
        """Measures of held-out windows, where something predicts."""
        if self.held_out is None or self.stage is None or not self.stage.predicts:
            return {}
        return self.ema.validate(self.held_out, self.stage.plans)

    def finish(self) -> Path:
        """Write the artefact."""
        c, network, explained = self.config, self.model().network, float(self.ema.explained)
        return self.save(
            half_precision(network), {"sizes": asdict(network.sizes), "cost": self.cost},
            sum(p.numel() for p in network.parameters()), how_trained(c),
            [f"The fixed reduction keeps {explained:.1%} of the token variance"],
            {SHEET: contact_sheet(self.stores, c.seed)}, explained_variance=explained, **self.kept,
        )  # fmt: skip


def _listed(paths: Path | Sequence[Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
