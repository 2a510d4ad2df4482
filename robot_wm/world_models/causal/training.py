"""Train a causal predictor on windows: next-latent prediction, and what its network adds to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.metrics import participation_ratio
from robot_wm.core.protocols import ModelSpec
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.windows import Rows, WindowBatch, Windows
from robot_wm.training.loop import generators_of
from robot_wm.training.losses import prediction
from robot_wm.world_models.base import Evaluate
from robot_wm.world_models.causal.config import CausalConfig
from robot_wm.world_models.causal.model import LatentModel
from robot_wm.world_models.causal.network import CausalNetwork
from robot_wm.world_models.jepa.visualization import SHEET, contact_sheet
from robot_wm.world_models.training import AveragedTraining

Shipped = Callable[[CausalNetwork, ModelSpec], LatentModel[Any]]
HELD_OUT = 256  # windows


class CausalTraining(AveragedTraining[CausalNetwork]):
    """A network that learns to predict the next latent from windows of frames.

    Args:
        family: name of the family, for the manifest.
        config, spec: of the training; what the planner must know.
        network: as it begins, what is fitted to data included.
        shipped: the model of a trained network.
        stores, rows: data sets, and what their frames are (see :class:`Windows`).
        encoder_sha: hash of the run's frozen encoder.
        target: folder of the artefact.
        evaluate: closed-loop success of the current model, called every ``eval_every`` steps.
    """

    about = (
        "Predicts the next latent, one block of control steps ahead, and judges plans by their "
        "distance to a goal image."
    )
    config: CausalConfig

    def __init__(
        self,
        family: str,
        config: CausalConfig,
        spec: ModelSpec,
        network: CausalNetwork,
        shipped: Shipped,
        stores: Sequence[EpisodeReader],
        rows: Rows,
        encoder_sha: str,
        target: Path,
        evaluate: Evaluate | None,
    ) -> None:
        super().__init__(family, config, stores, encoder_sha, spec, target, evaluate)
        self.shipped = shipped
        self.windows = Windows(stores, "train", config.history + 1, rows)
        held_out = Windows(stores, "validation", config.history + 1, rows)
        self.held_out = held_out.evenly_spaced(HELD_OUT) if len(held_out) else None
        network.scale.fit(np.concatenate(self.windows.actions or [np.zeros((0, 1))]))
        self.average(network)

    def loss(self, step: int) -> Tensor:
        """Prediction error of a fresh batch, and the network's own terms."""
        rng, generator = generators_of(self.config.seed, step)
        rows, actions = self._at_rest(self.windows.draw(self.config.batch, rng), rng)
        z = self._latents(self.live, rows)
        ahead = self.live.predict(z[:, :-1], actions)
        terms = {"prediction": prediction(ahead, z[:, 1:]), **self.live.terms(z, generator)}
        return self.summed(terms)

    def _at_rest(self, batch: WindowBatch, rng: np.random.Generator) -> WindowBatch:
        """Some windows begin at rest, see ``CausalConfig.context_dropout``."""
        still = torch.from_numpy(rng.random(len(batch.frames)) < self.config.context_dropout)
        batch.frames[still, 0], batch.actions[still, 0] = batch.frames[still, 1], 0.0
        return WindowBatch(*(part.to(self.config.device) for part in batch))

    def _latents(self, network: CausalNetwork, rows: Tensor) -> Tensor:
        return network.latents(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])

    def model(self) -> LatentModel[Any]:
        """The averaged model as it would be shipped now."""
        return self.shipped(copy.deepcopy(self.state.ema), self.spec)

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Of held-out windows, for the last frame of each.

        Returns:
            ``explained``, 1 − Σ‖ẑ − z‖² / Σ‖z_before − z‖², above 0 if better than copying the last
            frame; ``std`` and ``directions`` (participation ratio) of the latent, which say whether
            it has collapsed. Nothing without held-out episodes.
        """
        if self.held_out is None:
            return {}
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

    def finish(self) -> Path:
        """Write the artefact."""
        c, tensors = self.config, self.state.ema.own_state()
        trained = {k: v for k, v in asdict(c).items() if k not in self.free}
        return self.save(
            tensors, {"train": trained}, sum(value.numel() for value in tensors.values()),
            f", {c.steps:,} steps of {c.batch} windows, seed {c.seed}",
            files={SHEET: contact_sheet(self.stores, c.seed)},
        )  # fmt: skip
