"""V-JEPA for single-frame use: predict the EMA encoder's tokens of hidden patches.

The plain recipe (arXiv:2404.08471) collapses to position-only features on a fixed camera, where
most tokens are constant given their place. Five repairs keep it alive:

* targets are LayerNormed, centred per scene and token position, and scaled by a running global
  deviation, so a constant earns nothing;
* a variance hinge and a covariance penalty (VICReg, arXiv:2105.04906) on the context tokens,
  centred in the same groups;
* half of the batches hide most of the *next* frame and show the whole present one, half hide random
  tokens of both, so that small objects are asked for and can be placed; some visible tokens are
  predicted too (dense loss, arXiv:2603.14482);
* an inverse-dynamics head reads, from both whole frames, the summed action between them,
  ``batch["summed_action"]`` (single actions of a block leave no trace of their own);
* the predictor is told the action block (V-JEPA 2-AC, arXiv:2506.09985, moved into pretraining),
  so where a pushed object went is predictable, and patches whose pixels changed between the
  frames weigh 1 + ``motion_weight``.

A sixth term is a contrast in time (InfoNCE, arXiv:1807.03748) over a small embedding of the whole
frames: which frame follows which, among frames of the same look, is known by the pose of what is
pushed. It did that in the world model's latent (docs/log.md); what it is worth here is one of the
variants of ``robot-wm ablate-encoder`` and has not been measured.

Where a batch has twins, the same states in the look they were recorded in, an option makes these
what is predicted, and has the whole frames' tokens equal them: an object must be found in any
colour and light, and what the look adds must be ignored.

A clip is two single frames one block apart, each encoded alone, as planning will encode them.
The EMA *target* encoder is shipped: it is what every target came from, and an average of weights
is smoother than the last iterate.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.encoders.transformer import take
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.pretraining.ema_targets import CenteredTargets, ema_momentum
from robot_wm.pretraining.masking import future_frame, multiblock, random_tokens
from robot_wm.pretraining.objectives import Batch, Objective, strict
from robot_wm.pretraining.objectives.vjepa_modules import (
    ContextTokens,
    Contrast,
    InverseDynamics,
    TokenPredictor,
    VJEPAConfig,
)
from robot_wm.training.ema import average
from robot_wm.training.regularizers import centered, variance_covariance


def weighted(predicted: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Smooth L1 of tokens ``[B, M, D]``, averaged with weights ``[B, M]``."""
    per_token = F.smooth_l1_loss(predicted, wanted, reduction="none").mean(-1)
    return (per_token * weight).sum() / weight.sum()


class VJEPA(Objective):
    """The objective; see the module's text. Options: :class:`VJEPAConfig`."""

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        super().__init__()
        self.config = strict(VJEPAConfig, options)
        self.tokens, self.grid, self.scenes = encoder.tokens, encoder.grid, scenes
        self.context = VideoEncoder(encoder)
        self.target = copy.deepcopy(self.context).requires_grad_(False)
        self.predictor = TokenPredictor(self.config, encoder, scenes, action_dim)
        if self.config.masks == "tubes":
            self._tubes(np.random.default_rng(0), 16)  # told now if impossible
        if self.config.inverse_weight:
            self.inverse = InverseDynamics(self.config, encoder, scenes, control_dim)
        if self.config.contrast_weight:
            self.contrast = Contrast(self.config, encoder)
        self.normal = CenteredTargets(
            scenes, encoder.tokens, encoder.width,
            self.config.centering_momentum, self.config.centering,
        )  # fmt: skip

    def _tubes(self, rng: np.random.Generator, batch: int) -> Any:
        """Indices of shown and hidden tokens, the same in both frames."""
        c, least = self.config, min(8, self.tokens // 2)
        return multiblock(rng, batch, self.grid, c.tube_blocks, c.tube_area, min_visible=least)

    @property
    def encoder(self) -> VideoEncoder:
        """The EMA target encoder."""
        return self.target

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """See :class:`Objective`. Running target statistics move only in training mode."""
        c, frames, scene = self.config, batch["frames"], batch["scene"]
        twin = batch.get("twin", frames) if c.invariance_weight else frames
        future = bool(rng.random() < 0.5)
        whole = None
        if future and (c.inverse_weight or c.contrast_weight or twin is not frames):
            flat = self.context(frames.flatten(0, 1)[:, None])
            whole = flat.view(len(scene), 2 * self.tokens, -1)
        seen = self._context(frames, whole, future, rng)
        with torch.no_grad():
            goal = self._targets(twin, scene)
        places = rng.integers(0, seen.where.shape[1], (len(scene), c.dense_tokens))
        dense = torch.from_numpy(places).to(scene.device)
        predicted, visible = self.predictor(seen, dense, batch["actions"], scene)
        wanted, weight = take(goal, seen.hidden), self._weights(twin)
        parts = {"masked": weighted(predicted, wanted, weight.gather(1, seen.hidden))}
        total = parts["masked"]
        if c.dense_weight:
            where = seen.where.gather(1, dense)
            parts["dense"] = weighted(visible, take(goal, where), weight.gather(1, where))
            total = total + c.dense_weight * parts["dense"]
        parts["variance"], parts["covariance"] = self._spread(seen, scene)
        total = total + c.variance_weight * parts["variance"]
        total = total + c.covariance_weight * parts["covariance"]
        if whole is not None and c.inverse_weight:
            told, wanted_sum = self.inverse(whole, scene), batch["summed_action"]
            known = ~wanted_sum.isnan()
            parts["inverse"] = F.mse_loss(told[known], wanted_sum[known])
            total = total + c.inverse_weight * parts["inverse"]
        if whole is not None and c.contrast_weight:
            parts["contrast"] = self.contrast(whole, batch["appearance_id"], batch["clip"])
            total = total + c.contrast_weight * parts["contrast"]
        if whole is not None and twin is not frames:
            other = (twin != frames).flatten(1).any(1).float()[:, None]
            parts["invariance"] = self._invariance(whole, goal, scene, weight * other)
            total = total + c.invariance_weight * parts["invariance"]
        numbers = {name: float(value.detach()) for name, value in parts.items()}
        # Explained fraction: 0 is what predicting the mean of every position would cost.
        baseline = float(weighted(torch.zeros_like(wanted), wanted, weight.gather(1, seen.hidden)))
        kind = "ef_tubes" if c.masks == "tubes" else "ef_future" if future else "ef_random"
        numbers[kind] = 1 - numbers["masked"] / max(baseline, 1e-9)
        numbers["loss"] = float(total.detach())
        numbers["target_std"] = self.normal.std
        return total, numbers

    def after_step(self, progress: float) -> None:
        """Target ← m·target + (1−m)·context, m along a half cosine from ema_start to ema_end."""
        average(self.target, self.context, self.momentum(progress))

    def momentum(self, progress: float) -> float:
        """EMA momentum at ``progress`` in [0, 1]."""
        return ema_momentum(self.config.ema_start, self.config.ema_end, progress)

    def _context(
        self, frames: Tensor, whole: Tensor | None, future: bool, rng: np.random.Generator
    ) -> ContextTokens:
        """Draw this batch's mask and encode what it leaves visible, each frame alone."""
        c, batch, count = self.config, len(frames), self.tokens
        device = frames.device
        if future and c.masks != "tubes":
            mask = future_frame(rng, batch, count, c.visible)
            keep, hidden = (torch.from_numpy(side).to(device) for side in mask)
            first = self.context(frames[:, :1]) if whole is None else whole[:, :count]
            second = self.context(frames[:, 1:], keep)
            every = torch.arange(count, device=device).expand(batch, -1)
            where = torch.cat([every, keep + count], dim=1)
            return ContextTokens(torch.cat([first, second], dim=1), where, hidden + count)
        if c.masks == "tubes":
            sides = [np.repeat(index, 2, axis=0) for index in self._tubes(rng, batch)]
        else:
            sides = list(random_tokens(rng, 2 * batch, count, c.ratio))
        keep, hidden = (torch.from_numpy(side).to(device) for side in sides)
        tokens = self.context(frames.flatten(0, 1)[:, None], keep)
        shift = torch.tensor([0, count], device=device)[:, None]
        where, away = ((side.view(batch, 2, -1) + shift).flatten(1) for side in (keep, hidden))
        return ContextTokens(tokens.reshape(batch, -1, tokens.shape[-1]), where, away)

    def _weights(self, frames: Tensor) -> Tensor:
        """1, plus ``motion_weight`` where a patch changed between the two frames: ``[B, 2P]``."""
        batch, _, height, width, _ = frames.shape
        rows, columns = self.grid
        change = (frames[:, 0].int() - frames[:, 1].int()).abs().amax(-1)
        cut = change.view(batch, rows, height // rows, columns, width // columns)
        patches = cut.amax((2, 4)).flatten(1)
        moved = (patches > 8).float()
        return 1 + self.config.motion_weight * torch.cat([moved, moved], dim=1)

    def _groups(self, where: Tensor, scene: Tensor) -> Tensor:
        """Group of each token, its scene and place in the frame: int64 ``[B * K]``."""
        return (where % self.tokens + scene[:, None] * self.tokens).flatten()

    def _spread(self, seen: ContextTokens, scene: Tensor) -> tuple[Tensor, Tensor]:
        groups = self._groups(seen.where, scene)
        count = self.scenes * self.tokens
        return variance_covariance(*centered(seen.tokens.flatten(0, 1), groups, count))

    def _targets(self, frames: Tensor, scene: Tensor) -> Tensor:
        """LayerNormed EMA tokens, centred per scene and position, in global units: [B, 2P, D]."""
        tokens = self.target(frames.flatten(0, 1)[:, None])
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        targets: Tensor = self.normal(tokens.view(len(scene), 2, self.tokens, -1), scene)
        return targets.flatten(1, 2)

    def _invariance(self, whole: Tensor, goal: Tensor, scene: Tensor, weight: Tensor) -> Tensor:
        """How far own tokens ``[B, 2P, D]`` are from the targets; 0 where all weigh nothing."""
        if not weight.any():
            return weight.sum()
        pairs = F.layer_norm(whole, whole.shape[-1:]).unflatten(1, (2, self.tokens))
        return weighted(self.normal.in_units(pairs, scene).flatten(1, 2), goal, weight)
