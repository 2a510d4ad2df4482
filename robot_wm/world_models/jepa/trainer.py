"""Train the world model on cached latents: projector, predictor, proposer and goal distance.

Everything random in a step comes from generators seeded with (seed, step), so that a resumed run
makes the same batches as an uninterrupted one without storing any generator.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.protocols import spec_to_json
from robot_wm.core.storage.json_io import resumed
from robot_wm.core.storage.provenance import (
    append_line,
    check_parent,
    lock,
    read_manifest,
    sha256_of,
)
from robot_wm.core.system.progress import progress
from robot_wm.data.normalization import Statistics
from robot_wm.data.sequences import Pair, Windows, block_actions, open_pairs, sample_tokens, usable
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.training.checkpoint import (
    full_precision,
    half_precision,
    load_training_state,
    save_artifact,
    save_training_state,
)
from robot_wm.world_models.jepa.artifact import card_of, check_robot, describe, take_over
from robot_wm.world_models.jepa.config import TrainConfig
from robot_wm.world_models.jepa.dynamics import Scale
from robot_wm.world_models.jepa.model import KIND, NAME, JEPAWorldModel
from robot_wm.world_models.jepa.objective import Trainee
from robot_wm.world_models.jepa.projector import Embedding
from robot_wm.world_models.jepa.visualization import SHEET, contact_sheet

Evaluate = Callable[[JEPAWorldModel], Mapping[str, Any]]

# These may change between the two halves of a resumed run; everything else decides the result.
FREE = ("threads", "eval_every", "checkpoint_every", "log_every", "device", "latent_of")


def train(
    config: TrainConfig,
    dataset: Path | Sequence[Path],
    latents: Path | Sequence[Path],
    encoder: FrozenEncoder,
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
            another number of data sets than of ``config.shares``.
        WeightsError: ``out`` holds a run with another configuration.
        ConfigError: the loss is not finite any more.
        StorageError: the disk is full, or another process trains into ``out``.
    """
    torch.set_num_threads(config.threads)
    pairs = open_pairs(config.task, _listed(dataset), _listed(latents), encoder.sha256)
    if len(config.shares) not in (0, len(pairs)):
        raise DataError(
            f"{len(config.shares)} shares for {len(pairs)} data sets",
            "one for each, or none",
            "correct `train.shares`",
        )
    with lock(Path(out), "training into"):
        return _train(config, pairs, encoder, Path(out), evaluate, resume)


def _train(
    config: TrainConfig,
    pairs: list[Pair],
    encoder: FrozenEncoder,
    out: Path,
    evaluate: Evaluate | None,
    resume: bool,
) -> Path:
    """Train with one process at a time in ``out``."""
    run = _Run(config, pairs, encoder, out)
    step = run.restore() if resume else 0
    run.prepare(fit=step == 0)
    run.start_log(step)
    with progress("train", config.total) as report:
        while step < config.total:
            step += 1
            logged = run.step(step)
            report(step, f"loss {logged:.3f}" if logged is not None else "")
            if step == config.total:
                run.mix()
            if step % config.eval_every == 0 or step == config.total:
                run.evaluate(step, evaluate)
            if step % config.checkpoint_every == 0 or step == config.total:
                run.save(step)
    return run.ship()


class _Run:
    """One training run: what the loop in :func:`train` works on."""

    def __init__(
        self, config: TrainConfig, pairs: list[Pair], encoder: FrozenEncoder, out: Path
    ) -> None:
        self.config, self.pairs, self.encoder, self.out = config, pairs, encoder, out
        self.log, self.started = out / "log.jsonl", time.monotonic()
        hashes = [store.sha256 for store, _ in pairs]
        joint = hashes[0] if len(hashes) == 1 else sha256_of(hashes)
        self.parents = {"encoder": encoder.sha256, "dataset": joint}
        if config.latent_of:
            manifest = read_manifest(Path(config.latent_of), KIND)
            check_parent(manifest, "encoder", encoder.sha256)
            self.parents["latent"] = manifest["sha256"]
        self.stage = ""
        self.last: dict[str, Any] = {}
        self.spec, sizes = describe(config, pairs, encoder)
        if config.tuned:
            check_robot(Path(config.latent_of), self.spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            live = Trainee(sizes, config, self.spec.control_dim)
        averaged = copy.deepcopy(live).requires_grad_(False).eval()
        self.both = nn.ModuleDict({"live": live, "ema": averaged}).to(config.device)
        self.live: Trainee = self.both["live"]  # type: ignore[assignment]
        self.ema: Trainee = self.both["ema"]  # type: ignore[assignment]
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.AdamW:
        c, trained = self.config, [p for p in self.live.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, c.lr, weight_decay=c.weight_decay, fused=True)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the interrupted one."""
        kept = {k: v for k, v in asdict(self.config).items() if k not in FREE}
        kept |= {key: list(kept[key]) for key in ("rollout", "settle_rollout", "shares")}
        return {**kept, "parents": self.parents}

    def restore(self) -> int:
        return load_training_state(
            self.out / "state", self.both, self.optimizer, {}, self.identity()
        )

    def save(self, step: int) -> None:
        save_training_state(
            self.out / "state", step, self.both, self.optimizer, {}, self.identity()
        )

    def prepare(self, fit: bool) -> None:
        """Fit the fixed parts on the training split, then hold its windows in memory."""
        c = self.config
        if fit:
            self._fit()
        network = copy.deepcopy(self.live.network).cpu().eval()
        reduce, fixed = network.reduce, network.projector if not c.steps else None
        shape = (c.window, c.horizon, c.goal_range, c.demonstration_noise, c.device)
        self.windows = Windows(self.pairs, "train", reduce, *shape, c.shares, fixed)
        held_out = Windows(self.pairs, "validation", reduce, *shape)
        if not len(self.windows):
            raise DataError(
                f"no training episode has {c.window} block frames",
                f"episodes of at least {c.window - 1} blocks",
                "collect longer episodes or train with a smaller window",
            )
        rng = np.random.default_rng(c.seed)
        self.held_out = held_out.spread(512, rng) if len(held_out) else None

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
            explained = take_over(network, Path(c.latent_of), not c.embed, c.tuned)
        else:
            explained = network.reduce.fit(sample_tokens(self.pairs, 3_000))
        for trainee in (self.live, self.ema):
            trainee.explained.fill_(explained)
            trainee.network.load_state_dict(network.state_dict())
            trainee.guide.scale.load_state_dict(guide.state_dict())

    def start_log(self, step: int) -> None:
        """Drop what a killed run logged after its last checkpoint."""
        kept = resumed(self.log, step)
        self.last = next((record for record in reversed(kept) if "validation" in record), {})

    def write(self, step: int, **values: Any) -> None:
        seconds = round(time.monotonic() - self.started, 1)
        append_line(self.log, {"step": step, "seconds": seconds, **values})

    def enter(self, stage: str, first: bool) -> None:
        """Fix what the stages before have trained, at its average, and keep what comes out of it.

        Every parameter is trained in one stage, so that optimiser states never mix.

        Args:
            stage: the one that begins or, after a restart, goes on.
            first: whether it begins.
        """
        net, windows = self.ema.network, self.windows
        if stage != "shape" and self.stage in ("", "shape"):
            if self.config.steps:  # else that is what the windows hold
                windows.apply(net.projector)
            if first and isinstance(net.embedding, Embedding) and stage == "embed":
                net.embedding.fit(windows.x, torch.from_numpy(windows.last).to(windows.x.device))
        if stage == "settle":
            windows.apply(net.embedding)
            fresh = first and not self.config.tuned
            if fresh:
                net.whiten.fit(windows.x.cpu(), torch.from_numpy(windows.last))
            windows.apply(net.whiten)
            if fresh:
                heads = (net.predictor.place, net.proposer.place, net.distance.place)
                _fit_scales(windows.x, *heads)
        if first:
            self.live.load_state_dict(self.ema.state_dict())
        self.stage = stage

    def step(self, step: int) -> float | None:
        """One optimiser step; the loss when it was logged."""
        c, rng = self.config, np.random.default_rng([self.config.seed, step])
        stage, start = c.stage(step)
        if stage != self.stage:
            self.enter(stage, first=step == start + 1)
        generator = torch.Generator().manual_seed(c.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(c, step)
        self.live.train()
        if stage == "embed":
            drawn = self.windows.transitions(c.embed_episodes, c.embed_frames, rng)
            terms = self.live.embed(drawn)
        elif stage == "settle":
            batch = self.windows.draw(c.settle_batch, rng)
            shown = self.windows.draw(c.settle_batch, rng, shown=True) if c.proposer else batch
            terms = self.live.settle(batch, shown, c.ahead(step), generator)
        else:
            terms = self.live.shape(self.windows.draw(c.batch, rng), generator)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.live.parameters(), c.clip)
        if not torch.isfinite(norm):
            raise ConfigError(
                f"loss {float(loss.detach())} with a gradient of norm {float(norm)} at step {step}",
                "finite numbers", "lower train.lr or train.clip",
            )  # fmt: skip
        self.optimizer.step()
        average(self.ema, self.live, min(c.ema, (1 + step - start) / (10 + step - start)))
        if step % c.log_every and step != c.total:
            return None
        value = float(loss.detach())
        self.write(step, loss=value, terms={k: float(v.detach()) for k, v in terms.items()})
        return value

    def mix(self) -> None:
        """Average what was tuned with what tuning began with, see ``TrainConfig.kept``."""
        c = self.config
        if c.kept:
            began = copy.deepcopy(self.ema.network).cpu()
            take_over(began, Path(c.latent_of), embedded=True, whole=True)
            both = zip(self.ema.network.parameters(), began.parameters(), strict=True)
            for weight, first in both:
                weight.data.lerp_(first.data.to(weight), c.kept)

    def model(self) -> JEPAWorldModel:
        """The averaged model as it would be shipped now, rounded to half precision."""
        network = copy.deepcopy(self.ema.network)
        network.load_state_dict(full_precision(half_precision(network)))
        return JEPAWorldModel(network, self.encoder, self.spec, self.config.cost)

    def evaluate(self, step: int, evaluate: Evaluate | None) -> None:
        """Validate where something predicts; closed loop once there is something to plan with."""
        values: dict[str, Any] = {}
        if self.held_out is not None and self.stage != "embed":
            found = self.ema.validate(self.held_out, self.stage == "settle")
            # Where nothing moves in a handful of episodes, a share of it has no meaning.
            values["validation"] = {k: v for k, v in found.items() if math.isfinite(v)}
        if evaluate is not None and self.stage == "settle":
            values["closed_loop"] = dict(evaluate(self.model()))
            torch.set_num_threads(self.config.threads)  # loading a model may have changed it
        if values:
            self.last = {"step": step, **values}
            self.write(step, **values)

    def ship(self) -> Path:
        """Write the artefact."""
        c, network = self.config, self.model().network
        count = sum(p.numel() for p in network.parameters())
        facts = {
            "family": NAME,
            "config": self.identity(),
            "datasets": [s.sha256 for s, _ in self.pairs],
            "parameters": count,
            "explained_variance": float(self.ema.explained),
            "last": {k: v for k, v in self.last.items() if k != "seconds"},
        }
        sizes = asdict(network.sizes)
        described = {"spec": spec_to_json(self.spec), "sizes": sizes, "cost": c.cost}
        folder, card = self.out / KIND, card_of(c, facts, self.parents)
        tensors = half_precision(network)
        sheet = contact_sheet([store for store, _ in self.pairs], c.seed)
        save_artifact(folder, KIND, tensors, described, self.parents, facts, card, {SHEET: sheet})
        return folder


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine to 0, once in every stage. Steps count from 1."""
    stage, start = config.stage(step)
    length = {"shape": config.steps, "embed": config.embed, "settle": config.settle}[stage]
    step, warmup = step - start, min(config.warmup, length)
    if step <= warmup:
        return config.lr * step / warmup
    done = (step - warmup) / max(1, length - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def _fit_scales(rows: Tensor, *scales: Scale) -> None:
    std, mean = torch.std_mean(rows.float(), dim=0)
    for scale in scales:
        scale.mean.copy_(mean)
        scale.std.copy_(std.clamp(min=1e-3 * float(std.max())))


@torch.no_grad()
def average(target: nn.Module, source: nn.Module, decay: float) -> None:
    """Target ← decay·target + (1-decay)·source for parameters; buffers are copied."""
    for weight, new in zip(target.parameters(), source.parameters(), strict=True):
        weight.lerp_(new, 1 - decay)
    for kept, fixed in zip(target.buffers(), source.buffers(), strict=True):
        kept.copy_(fixed)


def _listed(paths: Path | Sequence[Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
