"""Train the world model on cached latents: projector, predictor, proposer and goal distance.

It goes through the stages of :mod:`robot_wm.world_models.jepa.training.stages`, in the one loop
that all trainings share.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.aliases import stored
from robot_wm.core.errors import DataError
from robot_wm.core.protocols import spec_to_json
from robot_wm.core.storage.provenance import (
    check_parent,
    read_manifest,
    sha256_of,
)
from robot_wm.data.normalization import Statistics
from robot_wm.data.sequences import (
    Pair,
    SequenceDataset,
    block_actions,
    open_pairs,
    sample_tokens,
    usable,
)
from robot_wm.encoders.base import Encoder
from robot_wm.training.checkpoint import (
    full_precision,
    half_precision,
    save_artifact,
)
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, fit, generators_of
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.run_log import Log
from robot_wm.world_models.jepa.artifact import build_spec, card_of, check_robot, load_submodules
from robot_wm.world_models.jepa.model import KIND, NAME, JEPAWorldModel
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.jepa.training.objective import TrainingModule
from robot_wm.world_models.jepa.training.stages import Stage
from robot_wm.world_models.jepa.visualization import SHEET, contact_sheet

Evaluate = Callable[[JEPAWorldModel], Mapping[str, Any]]

# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("threads", "eval_every", "checkpoint_every", "log_every", "device", "latent_of")


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


class WorldModelTraining(Training):
    """The network and its training heads, learning from windows of latents, stage after stage.

    Args:
        config: see :class:`TrainConfig`.
        pairs: data sets with their latent caches.
        encoder: the one the latents were made with.
        target: folder of the artefact.
        evaluate: see :func:`train`.
    """

    title, section = "train", "train"

    def __init__(
        self,
        config: TrainConfig,
        pairs: list[Pair],
        encoder: Encoder,
        target: Path,
        evaluate: Evaluate | None,
    ) -> None:
        self.config, self.pairs, self.encoder, self.target = config, pairs, encoder, target
        self.closed_loop = evaluate
        hashes = [store.sha256 for store, _ in pairs]
        joint = hashes[0] if len(hashes) == 1 else sha256_of(hashes)
        self.parents = {"encoder": encoder.sha256, "dataset": joint}
        if config.latent_of:
            manifest = read_manifest(Path(config.latent_of), KIND)
            check_parent(manifest, "encoder", encoder.sha256)
            self.parents["latent"] = manifest["sha256"]
        self.spec, sizes = build_spec(config, pairs, encoder)
        if config.fine_tune:
            check_robot(Path(config.latent_of), self.spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            live = TrainingModule(sizes, config, self.spec.control_dim)
        self.state: Averaged[TrainingModule] = Averaged(live).to(config.device)
        self.trained = self.live = self.state.live
        self.ema = self.state.ema
        self.generators = {}
        decisive = {k: v for k, v in stored("train", asdict(config)).items() if k not in FREE}
        decisive |= {key: list(decisive[key]) for key in ("rollout", "settle_rollout", "shares")}
        self.identity = {**decisive, "parents": self.parents}
        self.pace = Pace(
            config.total, config.log_every, config.eval_every, config.checkpoint_every,
            config.weight_decay, config.clip,
        )  # fmt: skip
        self.stage: Stage | None = None
        self.last: dict[str, Any] = {}
        self.terms: dict[str, Tensor] = {}

    def learning_rate(self, step: int) -> float:
        """See :func:`learning_rate`."""
        return learning_rate(self.config, step)

    def begin(self, step: int, log: Log) -> None:
        """Fit the fixed parts on the training split, then hold its windows in memory."""
        c = self.config
        self.last = next((record for record in reversed(log.past) if "validation" in record), {})
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
        c, stores = self.config, [store for store, _ in self.pairs]
        rows = [block_actions(s, i) for s in stores for i in usable(s, "train")]
        stats = Statistics.fit(np.concatenate(rows) if rows else np.zeros((0, 1)))
        network = copy.deepcopy(self.live.network).cpu()
        guide = self.live.guide.scale
        for scale in (network.predictor.scale, network.proposer.scale, guide):
            scale.mean.copy_(torch.from_numpy(stats.mean))
            scale.std.copy_(torch.from_numpy(stats.std))
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
        terms = stage.loss(self.live, self.windows, step - start, rng, generator)
        self.terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average; in the end, towards what fine-tuning began with."""
        _, start = self.config.stage_of(step)
        self.state.update(self.config.ema, step - start)
        if step == self.config.total and self.config.interpolation:
            self._interpolate()

    def _interpolate(self) -> None:
        """Average what was tuned with what tuning began with, see ``TrainConfig.interpolation``."""
        began = copy.deepcopy(self.ema.network).cpu()
        load_submodules(began, Path(self.config.latent_of), embedded=True, whole=True)
        both = zip(self.ema.network.parameters(), began.parameters(), strict=True)
        for weight, first in both:
            weight.data.lerp_(first.data.to(weight), self.config.interpolation)

    def line(self) -> dict[str, Any]:
        """Loss and terms of the last step."""
        total = torch.stack(list(self.terms.values())).sum()
        return {"loss": float(total), "terms": {k: float(v) for k, v in self.terms.items()}}

    def model(self) -> JEPAWorldModel:
        """The averaged model as it would be shipped now, rounded to half precision."""
        network = copy.deepcopy(self.ema.network)
        network.load_state_dict(full_precision(half_precision(network)))
        return JEPAWorldModel(network, self.encoder, self.spec, self.config.cost)

    def evaluate(self, step: int) -> dict[str, Any]:
        """Validate where something predicts; closed loop once there is something to plan with."""
        values: dict[str, Any] = {}
        assert self.stage is not None  # a step was taken
        if self.held_out is not None and self.stage.predicts:
            found = self.ema.validate(self.held_out, self.stage.plans)
            # Where nothing moves in a handful of episodes, a share of it has no meaning.
            values["validation"] = {k: v for k, v in found.items() if math.isfinite(v)}
        if self.closed_loop is not None and self.stage.plans:
            values["closed_loop"] = dict(self.closed_loop(self.model()))
        if values:
            self.last = {"step": step, **values}
        return values

    def finish(self) -> Path:
        """Write the artefact."""
        c, network = self.config, self.model().network
        count = sum(p.numel() for p in network.parameters())
        facts = {
            "family": NAME,
            "config": self.identity,
            "datasets": [s.sha256 for s, _ in self.pairs],
            "parameters": count,
            "explained_variance": float(self.ema.explained),
            "last": {k: v for k, v in self.last.items() if k != "seconds"},
        }
        sizes = asdict(network.sizes)
        described = {"spec": spec_to_json(self.spec), "sizes": sizes, "cost": c.cost}
        sheet = contact_sheet([store for store, _ in self.pairs], c.seed)
        save_artifact(
            self.target, KIND, half_precision(network), described, self.parents, facts,
            card_of(c, facts, self.parents), {SHEET: sheet},
        )  # fmt: skip
        return self.target


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine to 0, once in every stage. Steps count from 1."""
    stage, start = config.stage_of(step)
    warmup = min(config.warmup, stage.steps)
    return warmup_cosine(config.lr, step - start, stage.steps, warmup)


def _listed(paths: Path | Sequence[Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
