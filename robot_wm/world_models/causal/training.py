"""Train a causal predictor on windows: next-latent prediction, and what its network adds to it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.aliases import stored
from robot_wm.core.protocols import ModelSpec, spec_to_json
from robot_wm.core.storage.markdown import card, table
from robot_wm.core.storage.provenance import sha256_of
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.normalization import Statistics
from robot_wm.data.windows import Rows, WindowBatch, Windows
from robot_wm.training.checkpoint import save_artifact
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, generators_of
from robot_wm.training.losses import prediction
from robot_wm.training.metrics import participation_ratio
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.run_log import Log
from robot_wm.world_models.base import KIND, Evaluate
from robot_wm.world_models.causal.config import FREE, CausalConfig
from robot_wm.world_models.causal.model import CausalModel
from robot_wm.world_models.causal.network import CausalNetwork
from robot_wm.world_models.jepa.visualization import SHEET, contact_sheet

HELD_OUT = 256  # windows


class CausalTraining(Training):
    """A network that learns to predict the next latent from windows of frames.

    Args:
        family: name of the family, for the manifest.
        config, spec: of the training; what the planner must know.
        network: as it begins, what is fitted to data included.
        stores, rows: data sets, and what their frames are (see :class:`Windows`).
        encoder_sha: hash of the run's frozen encoder.
        target: folder of the artefact.
        evaluate: closed-loop success of the current model, called every ``eval_every`` steps.
    """

    title, section = "train", "train"

    def __init__(
        self,
        family: str,
        config: CausalConfig,
        spec: ModelSpec,
        network: CausalNetwork,
        stores: Sequence[EpisodeReader],
        rows: Rows,
        encoder_sha: str,
        target: Path,
        evaluate: Evaluate | None,
    ) -> None:
        self.family, self.config, self.spec, self.target = family, config, spec, target
        self.stores, self.closed_loop = stores, evaluate
        self.windows = Windows(stores, "train", config.history + 1, rows)
        held_out = Windows(stores, "validation", config.history + 1, rows)
        self.held_out = held_out.evenly_spaced(HELD_OUT) if len(held_out) else None
        blocks = self.windows.actions or [np.zeros((0, 1))]
        stats = Statistics.fit(np.concatenate(blocks))
        network.scale.mean.copy_(torch.from_numpy(stats.mean))
        network.scale.std.copy_(torch.from_numpy(stats.std))
        self.state: Averaged[CausalNetwork] = Averaged(network).to(config.device)
        self.trained = self.live = self.state.live
        self.generators = {}
        hashes = [store.sha256 for store in stores]
        joint = hashes[0] if len(hashes) == 1 else sha256_of(hashes)
        self.parents = {"encoder": encoder_sha, "dataset": joint}
        decisive = {k: v for k, v in stored("train", asdict(config)).items() if k not in FREE}
        self.identity = {**decisive, "parents": self.parents}
        self.pace = Pace(
            config.steps, config.log_every, config.eval_every, config.checkpoint_every,
            config.weight_decay, config.clip,
        )  # fmt: skip
        self.last: dict[str, Any] = {}
        self.terms: dict[str, Tensor] = {}

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        c = self.config
        return warmup_cosine(c.lr, step, c.steps, min(c.warmup, c.steps))

    def begin(self, step: int, log: Log) -> None:
        """Find what an interrupted run has measured."""
        self.last = next((record for record in reversed(log.past) if "validation" in record), {})

    def loss(self, step: int) -> Tensor:
        """Prediction error of a fresh batch, and the network's own terms."""
        rng, generator = generators_of(self.config.seed, step)
        rows, actions = self._at_rest(self.windows.draw(self.config.batch, rng), rng)
        z = self._latents(self.live, rows)
        ahead = self.live.predict(z[:, :-1], actions)
        terms = {"prediction": prediction(ahead, z[:, 1:]), **self.live.terms(z, generator)}
        self.terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def _at_rest(self, batch: WindowBatch, rng: np.random.Generator) -> WindowBatch:
        """Some windows begin at rest, see ``CausalConfig.context_dropout``."""
        still = torch.from_numpy(rng.random(len(batch.frames)) < self.config.context_dropout)
        batch.frames[still, 0], batch.actions[still, 0] = batch.frames[still, 1], 0.0
        return WindowBatch(*(part.to(self.config.device) for part in batch))

    def _latents(self, network: CausalNetwork, rows: Tensor) -> Tensor:
        return network.latents(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average."""
        self.state.update(self.config.ema, step)

    def line(self) -> dict[str, Any]:
        """Loss and terms of the last step."""
        total = torch.stack(list(self.terms.values())).sum()
        return {"loss": float(total), "terms": {k: float(v) for k, v in self.terms.items()}}

    def model(self) -> CausalModel:
        """The averaged model as it would be shipped now."""
        return CausalModel(copy.deepcopy(self.state.ema), self.spec, self.config.chunk)

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Of held-out windows, for the last frame of each.

        Returns:
            ``explained``, 1 − Σ‖ẑ − z‖² / Σ‖z_before − z‖², above 0 if better than copying the last
            frame; ``std`` and ``directions`` (participation ratio) of the latent, which say whether
            it has collapsed.
        """
        assert self.held_out is not None  # see evaluate
        rows, actions = (part.to(self.config.device) for part in self.held_out)
        network = self.state.ema.eval()
        parts = rows.split(32), actions.split(32)
        errors, moves, ends = [], [], []
        for row, action in zip(*parts, strict=True):
            z = self._latents(network, row)
            ahead = network.predict(z[:, :-1], action)[:, -1]
            errors.append((ahead - z[:, -1]).square().sum())
            moves.append((z[:, -2] - z[:, -1]).square().sum())
            ends.append(z[:, -1].cpu())
        last = torch.cat(ends)
        spread = torch.linalg.svdvals(last - last.mean(0)).square().numpy()
        return {
            "explained": 1 - float(sum(errors)) / max(float(sum(moves)), 1e-12),
            "std": float(last.std(0).mean()) if len(last) > 1 else 0.0,
            "directions": participation_ratio(spread),
        }

    def evaluate(self, step: int) -> dict[str, Any]:
        """Validation, and closed loop where it is asked for."""
        values: dict[str, Any] = {}
        if self.held_out is not None:
            values["validation"] = self.validate()
        if self.closed_loop is not None:
            values["closed_loop"] = dict(self.closed_loop(self.model()))
        if values:
            self.last = {"step": step, **values}
        return values

    def finish(self) -> Path:
        """Write the artefact."""
        c, network = self.config, self.state.ema
        tensors = network.own_state()
        facts = {
            "family": self.family,
            "config": self.identity,
            "datasets": [store.sha256 for store in self.stores],
            "parameters": sum(value.numel() for value in tensors.values()),
            "last": {k: v for k, v in self.last.items() if k != "seconds"},
        }
        trained = {k: v for k, v in asdict(c).items() if k not in FREE}
        described = {"spec": spec_to_json(self.spec), "train": trained}
        sheet = contact_sheet(self.stores, c.seed)
        save_artifact(
            self.target, KIND, tensors, described, self.parents, facts, self._card(facts),
            {SHEET: sheet},
        )  # fmt: skip
        return self.target

    def _card(self, facts: Mapping[str, Any]) -> str:
        measured = facts["last"].get("validation", {})
        return card(
            f"World model `{self.family}` for `{self.config.task}`",
            "Predicts the next latent, one block of control steps ahead, and judges plans by their "
            "distance to a goal image.",
            [
                f"{facts['parameters']:,} numbers, {self.config.steps:,} steps of "
                f"{self.config.batch} windows, seed {self.config.seed}",
                "Trained for this scene, camera and robot only; it has no notion of safety",
            ],
            table(["held-out episodes", "value"], [[k, f"{v:.3f}"] for k, v in measured.items()]),
        )
