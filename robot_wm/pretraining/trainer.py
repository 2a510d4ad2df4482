"""Pretraining of the encoder: clips in, a frozen encoder out; monitored, resumable to the bit.

    from pathlib import Path
    from robot_wm.pretraining.trainer import PretrainConfig, pretrain
    pretrain(PretrainConfig(steps=5000), [Path("data/push_t")], Path("runs/encoder"))

leaves in ``out``: ``encoder/`` (the artefact), ``log.jsonl`` (one JSON line per report) and
``checkpoints/`` (the newest training state).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import ConfigError
from robot_wm.core.images import spelled
from robot_wm.data.color_jitter import jittered
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.data.frame_pairs import ClipSampler
from robot_wm.encoders.frozen import save_encoder
from robot_wm.pretraining.config import PretrainConfig
from robot_wm.pretraining.monitor import Monitor
from robot_wm.pretraining.objectives import Objective, make_objective
from robot_wm.training.loop import Pace, Training, fit
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.run_log import Log, Window

__all__ = ["PretrainConfig", "learning_rate", "pretrain"]


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Linear warm-up, then half a cosine to ``lr_end``; ``step`` counts from 1."""
    rise = max(1, round(config.warmup * config.steps))
    return warmup_cosine(config.lr, step, config.steps + 1, rise, config.lr_end, hold=1)


class Pretraining(Training):
    """An objective and its encoder, learning from clips."""

    title, section, states = "pretrain", "pretrain", "checkpoints"

    def __init__(
        self, config: PretrainConfig, stores: Sequence[EpisodeReader], target: Path
    ) -> None:
        self.config, self.stores, self.target = config, stores, target
        self.sampler = ClipSampler(
            stores,
            config.block,
            config.encoder.image_size,
            config.dataset_weights,
            config.clips_per_episode,
        )
        torch.manual_seed(config.seed)
        self.objective: Objective = make_objective(
            config.objective, config.encoder, config.options,
            len(self.sampler.scenes), self.sampler.action_dim, self.sampler.control_dim,
        ).to(config.device)  # fmt: skip
        self.state = self.trained = self.objective
        clips, masks, colors = np.random.SeedSequence(config.seed).spawn(3)
        self.generators = {
            "clips": np.random.default_rng(clips), "masks": np.random.default_rng(masks),
        }  # fmt: skip
        if config.color_jitter:
            self.generators["colors"] = np.random.default_rng(colors)
        self.parents = {f"dataset:{store.root.name}": store.sha256 for store in stores}
        self.identity = {**config.to_json(), "datasets": self.parents}
        self.pace = Pace(
            config.steps, config.log_every, config.monitor_every, config.checkpoint_every,
            config.weight_decay, config.clip,
        )  # fmt: skip
        self.monitor = Monitor(config, stores) if config.monitor_every else None
        self.measured: dict[str, dict[str, float]] = {}
        self.window, self.parts, self.began = Window(), dict[str, float](), 0.0

    def learning_rate(self, step: int) -> float:
        """See :func:`learning_rate`."""
        return learning_rate(self.config, step)

    def begin(self, step: int, log: Log) -> None:
        """Measure raw pixels, as a reference, and the untrained encoder."""
        if self.monitor and not step:
            log.write(0, kind="pixels", data=self.monitor.pixels())
            log.write(0, kind="monitor", data=self.monitor.measure(self.objective.encoder))

    def loss(self, step: int) -> Tensor:
        """The objective's, of a fresh batch."""
        self.began = time.process_time()
        batch = self.sampler.draw(self.generators["clips"], self.config.batch)
        if self.config.color_jitter:
            batch = jittered(batch, self.generators["colors"], self.config.color_jitter)
        batch = {key: value.to(self.config.device) for key, value in batch.items()}
        loss, self.parts = self.objective.loss(batch, self.generators["masks"])
        return loss

    def after_step(self, step: int, norm: Tensor) -> None:
        """Let the objective move what follows the weights, e.g. its target encoder."""
        self.objective.after_step(step / self.config.steps)
        # Of all threads; what a step costs, whatever else the machine does and whoever measures.
        cpu_s = time.process_time() - self.began
        self.window.add({**self.parts, "grad_norm": float(norm), "cpu_s": cpu_s})

    def line(self) -> dict[str, Any]:
        """Means of the parts of the loss."""
        return {"kind": "train", **self.window.flush()}

    def evaluate(self, step: int) -> dict[str, Any]:
        """Collapse meters and probes of every data set."""
        assert self.monitor is not None  # else the pace never asks
        self.measured = self.monitor.measure(self.objective.encoder)
        return {"kind": "monitor", "data": self.measured}

    def finish(self) -> Path:
        """Write the encoder."""
        if self.monitor and not self.measured:  # every step was done before the last interruption
            self.evaluate(self.config.steps)
        facts = {
            "pretrain": self.config.to_json(), "clips": len(self.sampler),
            "monitors": self.measured,
            "statistics": {k: v.to_json() for k, v in self.sampler.statistics.items()},
        }  # fmt: skip
        card = _card(self.config, self.parents, facts)
        save_encoder(self.target, self.objective.encoder, self.parents, facts, card)
        return self.target


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
    stores = [open_episodes(Path(path)) for path in datasets]
    if not stores:
        raise ConfigError("no data set", "one or more", "name the folders to learn from")
    target = Path(out) / "encoder"
    return fit(lambda: Pretraining(config, stores, target), out, resume, stop_at)


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
