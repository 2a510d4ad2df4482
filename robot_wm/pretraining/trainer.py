"""Pretraining of the encoder: clips in, a frozen encoder out; monitored, resumable to the bit.

    from pathlib import Path
    from robot_wm.pretraining.trainer import PretrainConfig, pretrain
    pretrain(PretrainConfig(steps=5000), [Path("data/push_t")], Path("runs/encoder"))

leaves in ``out``: ``encoder/`` (the artefact), ``log.jsonl`` (one JSON line per report) and
``checkpoints/`` (the newest training state).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from robot_wm.core.config import (
    Count,
    Device,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    check_fields,
)
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import spelled
from robot_wm.core.storage.json_io import resumed
from robot_wm.core.storage.provenance import append_line, lock
from robot_wm.core.system.progress import progress
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.data.frame_pairs import ClipSampler
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.pretraining.collapse_metrics import ProbeData, pixel_tokens
from robot_wm.pretraining.objectives import Objective, make_objective
from robot_wm.training.checkpoint import load_training_state, save_training_state


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the weights, beside the data.

    Attributes:
        steps, batch: optimiser steps and clips per step.
        lr: peak learning rate, reached after the share ``warmup`` of all steps, then a half cosine
            down to ``lr_end`` of the peak.
        weight_decay: on matrices only; biases, norms and mask tokens have none.
        clip: largest gradient norm.
        seed: of weights, clips and masks.
        objective, options: registered name and its own configuration.
        encoder: shape of the encoder.
        block: control steps between the two frames of a clip.
        together: clips of one episode in a batch; they are each other's hard negatives.
        shares: weight of each collection in a batch, by its name (1 where unnamed). Randomised
            appearance is constant within a clip, so too much of it teaches colours, not objects.
        threads: of torch; 0 keeps torch's choice. Bit-exact resuming needs equal threads.
        device: ``cpu`` or ``cuda``; only ``cpu`` repeats to the bit.
        log_every, checkpoint_every, monitor_every: in steps; 0 switches off.
        monitor_train, monitor_test: frames per data set for the collapse meters and probes.
    """

    steps: Count = 5000
    batch: Annotated[int, Within(2, 10**6)] = 64
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    warmup: Fraction = 0.05
    lr_end: Fraction = 0.05
    weight_decay: NonNegative = 0.04
    clip: Positive = 1.0
    seed: Seed = 0
    objective: str = "vjepa"
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    block: Annotated[int, Within(1, 4096)] = 5
    together: Annotated[int, Within(1, 4096)] = 4
    shares: Mapping[str, NonNegative] = field(default_factory=lambda: {"nominal": 4.0})
    threads: Annotated[int, Within(0, 1024)] = 0
    device: Device = "cpu"
    log_every: Natural = 50
    checkpoint_every: Natural = 200
    monitor_every: Natural = 500
    monitor_train: Count = 3000
    monitor_test: Count = 1500

    def __post_init__(self) -> None:
        check_fields(self, "pretrain")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return value


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Linear warm-up, then a half cosine to ``lr_end``; ``step`` counts from 0."""
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.lr * (step + 1) / rise
    t = (step - rise) / max(1, config.steps - rise)
    return config.lr * (config.lr_end + (1 - config.lr_end) * (1 + math.cos(math.pi * t)) / 2)


def make_optimizer(module: nn.Module, config: PretrainConfig) -> torch.optim.AdamW:
    """Fused AdamW (.9, .999), decay on matrices only."""
    learnt = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.999), fused=True)


class Run:
    """One pretraining run: the state that a checkpoint holds, and one step of it."""

    def __init__(self, config: PretrainConfig, stores: Sequence[EpisodeReader]) -> None:
        self.config = config
        self.sampler = ClipSampler(
            stores, config.block, config.encoder.image_size, config.shares, config.together
        )
        torch.manual_seed(config.seed)
        self.objective: Objective = make_objective(
            config.objective, config.encoder, config.options,
            len(self.sampler.scenes), self.sampler.action_dim, self.sampler.control_dim,
        ).to(config.device)  # fmt: skip
        self.optimizer = make_optimizer(self.objective, config)
        clips, masks = np.random.SeedSequence(config.seed).spawn(2)
        self.rngs = {"clips": np.random.default_rng(clips), "masks": np.random.default_rng(masks)}

    def step(self, index: int) -> dict[str, float]:
        """Optimiser step ``index`` (from 0); returns the parts of the loss.

        Raises:
            ConfigError: the loss is not finite any more.
        """
        c, objective = self.config, self.objective
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(c, index)
        batch = self.sampler.draw(self.rngs["clips"], c.batch)
        objective.train()
        loss, parts = objective.loss(
            {key: value.to(c.device) for key, value in batch.items()}, self.rngs["masks"]
        )
        if not math.isfinite(parts["loss"]):
            raise ConfigError(
                f"loss {parts['loss']} at step {index}", "a finite loss", "lower lr or clip"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parts["grad_norm"] = float(nn.utils.clip_grad_norm_(objective.parameters(), c.clip))
        self.optimizer.step()
        objective.after_step((index + 1) / c.steps)
        return parts


class Monitor:
    """Collapse meters and probes of every data set; pixels are measured once, as a reference."""

    def __init__(self, config: PretrainConfig, stores: Sequence[EpisodeReader]) -> None:
        rng = np.random.default_rng([config.seed, 1])
        self.patch = config.encoder.patch
        self.data = [
            ProbeData.draw(store, rng, config.monitor_train, config.monitor_test)
            for store in stores
        ]

    def pixels(self) -> dict[str, dict[str, float]]:
        """The same numbers for raw pixels."""
        return {part.name: part.evaluate(pixel_tokens(self.patch)) for part in self.data}

    def measure(self, encoder: VideoEncoder) -> dict[str, dict[str, float]]:
        """Numbers by data set."""
        encoder.eval()

        def encode(frames: np.ndarray) -> np.ndarray:
            return encoder.encode_frames(frames).cpu().numpy()

        return {part.name: part.evaluate(encode) for part in self.data}


def pretrain(
    config: PretrainConfig,
    datasets: Sequence[Path],
    out: Path,
    resume: bool = True,
    stop_at: int | None = None,
) -> Path:
    """Train an encoder and write its artefact.

    Args:
        datasets: folders of episodes; only their training split is learnt from.
        out: folder of the run.
        resume: continue from the newest state in ``out``; otherwise start again.
        stop_at: save the state and return after this many steps, without an artefact.

    Returns:
        Folder of the artefact, ``out/encoder``.

    Raises:
        ConfigError: a bad configuration. DataError: bad data. WeightsError: the state in ``out``
        is damaged or of another configuration or data. StorageError: the disk is full.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    stores = [open_episodes(Path(path)) for path in datasets]
    if not stores:
        raise ConfigError("no data set", "one or more", "name the folders to learn from")
    with lock(Path(out), "pretraining into"):
        return _pretrain(config, stores, Path(out), resume, stop_at)


def _pretrain(
    config: PretrainConfig,
    stores: list[EpisodeReader],
    out: Path,
    resume: bool,
    stop_at: int | None,
) -> Path:
    """Pretrain with one process at a time in ``out``."""
    run, states, log = Run(config, stores), out / "checkpoints", Log(out / "log.jsonl")
    parents = {f"dataset:{store.root.name}": store.sha256 for store in stores}
    identity = {**config.to_json(), "datasets": parents}
    start = 0
    if resume:
        start = load_training_state(states, run.objective, run.optimizer, run.rngs, identity)
    log.open(start)
    monitor = Monitor(config, stores) if config.monitor_every else None
    if monitor and not start:
        log.write(0, kind="pixels", data=monitor.pixels())
        log.write(0, kind="monitor", data=monitor.measure(run.objective.encoder))
    last = config.steps if stop_at is None else min(config.steps, stop_at)
    _loop(run, range(start, last), log, monitor, lambda step: save_training_state(
        states, step, run.objective, run.optimizer, run.rngs, identity
    ))  # fmt: skip
    if last < config.steps:
        return states
    measured = monitor.measure(run.objective.encoder) if monitor else {}
    if monitor:
        log.write(config.steps, kind="monitor", data=measured)
    facts = {"pretrain": config.to_json(), "clips": len(run.sampler), "monitors": measured}
    facts["statistics"] = {k: v.to_json() for k, v in run.sampler.statistics.items()}
    target = Path(out) / "encoder"
    save_encoder(target, run.objective.encoder, parents, facts, _card(config, parents, facts))
    return target


def _loop(
    run: Run, steps: range, log: Log, monitor: Monitor | None, save: Callable[[int], object]
) -> None:
    """Take the steps, reporting, measuring and saving on the way."""
    c, window, began = run.config, Window(), time.perf_counter()
    with progress("pretrain", c.steps) as report:
        for index in steps:
            window.add(run.step(index))
            done = index + 1
            if c.log_every and (done % c.log_every == 0 or done == c.steps):
                rate = window.count / (time.perf_counter() - began)
                means = window.flush()
                log.write(done, kind="train", lr=learning_rate(c, index), steps_s=rate, **means)
                report(done, " ".join(f"{k} {v:.3f}" for k, v in means.items()))
                began = time.perf_counter()
            if monitor and done % c.monitor_every == 0 and done < c.steps:
                log.write(done, kind="monitor", data=monitor.measure(run.objective.encoder))
                began = time.perf_counter()
            if done == steps[-1] + 1 or (c.checkpoint_every and done % c.checkpoint_every == 0):
                save(done)


class Window:
    """Means of whatever numbers arrived since the last flush (not every step has every part)."""

    def __init__(self) -> None:
        self.count, self.sums = 0, dict[str, list[float]]()

    def add(self, parts: Mapping[str, float]) -> None:
        """Take one step's numbers."""
        self.count += 1
        for name, value in parts.items():
            self.sums.setdefault(name, []).append(value)

    def flush(self) -> dict[str, float]:
        """Means by name; start again."""
        means = {name: sum(values) / len(values) for name, values in sorted(self.sums.items())}
        self.count, self.sums = 0, {}
        return means


class Log:
    """JSON lines, one per report; resuming drops the lines written after the resumed state."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, step: int) -> None:
        """Keep lines up to ``step`` (none of an earlier run when it is 0)."""
        resumed(self.path, step)

    def write(self, step: int, **values: object) -> None:
        """Append one line."""
        append_line(self.path, {"step": step, **values})


def _card(config: PretrainConfig, parents: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """Markdown: what the encoder is, what it saw, what it was measured to know."""
    e = config.encoder
    lines = [
        "# Video encoder", "",
        f"{spelled(e.image_size)} px, patch {e.patch}, {e.tokens} tokens of width {e.width}, depth "
        f"{e.depth}; objective `{config.objective}`, {config.steps} steps of {config.batch} clips "
        f"out of {facts['clips']}, seed {config.seed}.",
        "", "Feed uint8 RGB; normalisation is inside. Encode each frame alone.", "", "## Data", "",
        *(f"* {name}: `{digest}`" for name, digest in parents.items()),
    ]  # fmt: skip
    for name, numbers in facts["monitors"].items():
        lines += ["", f"## Measured on {name} (validation split)", ""]
        lines += [f"* {key}: {value:.3f}" for key, value in numbers.items()]
    config_text = json.dumps(config.to_json(), indent=2)
    return "\n".join([*lines, "", "## Configuration", "", "```json", config_text, "```", ""])
