"""What is trained: the shipped network, the heads that only training needs, and their loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.metrics import participation_ratio, r2
from robot_wm.data.sequences import SequenceBatch
from robot_wm.training import losses
from robot_wm.training.losses import contrast
from robot_wm.world_models.jepa.dynamics import LatentPredictor
from robot_wm.world_models.jepa.model import Network, Sizes
from robot_wm.world_models.jepa.projector import Decoder, Embedding
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.jepa.training.stages import DynamicsStage, RepresentationStage


class TrainingModule(nn.Module):
    """Network, inverse dynamics, feature decoder and what the contrast needs.

    The two heads keep the latent from forgetting: without them a compact latent trained only to
    be predictable throws fine pose away although its loss looks fine.
    """

    explained: Tensor

    def __init__(self, sizes: Sizes, config: TrainConfig, control: int) -> None:
        super().__init__()
        self.config, self.control = config, control
        self.network = Network(sizes)
        self.inverse = nn.Sequential(
            nn.Linear(8 * sizes.keypoints, 256), nn.GELU(), nn.Linear(256, sizes.action)
        )
        self.decoder = Decoder(sizes.grid, config.reconstructed, sizes.channels, sizes.keypoints)
        raw = 4 * sizes.keypoints
        self.guide = LatentPredictor(raw, sizes.action, sizes.width, sizes.blocks)
        self.moved = nn.Linear(Embedding.MOVED, control)
        self.log_sharpness = nn.Parameter(torch.zeros(()))
        self.register_buffer("explained", torch.zeros(()))

    def invert(self, z: Tensor) -> Tensor:
        """Normalised blocks ``[B, T-1, A]`` read from neighbouring latents ``[B, T, Z]``."""
        return self.inverse(torch.cat([z[:, :-1], z[:, 1:] - z[:, :-1]], dim=-1))

    def decode(self, z: Tensor) -> Tensor:
        """Leading components of the tokens ``[..., P, decoded]`` from latents ``[..., Z]``."""
        return self.decoder(z)

    def context(
        self, z: Tensor, actions: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Previous latents ``[B, T-1, Z]`` and actions ``[B, T-1, A]`` of frames 0 … T-2.

        Frame 0 has none (a copy and zeros); with a generator, others lose theirs at random.
        """
        z_prev = torch.cat([z[:, :1], z[:, :-2]], dim=1)
        a_prev = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], dim=1)
        if generator is None:
            return z_prev, a_prev
        draw = torch.rand(actions.shape[:2], generator=generator)
        lost = (draw < self.config.context_dropout).to(z.device)[..., None]
        return torch.where(lost, z[:, :-1], z_prev), a_prev.masked_fill(lost, 0.0)

    @staticmethod
    def unroll(
        predictor: LatentPredictor,
        z: Tensor,
        z_prev: Tensor,
        a_prev: Tensor,
        actions: Tensor,
        steps: int,
    ) -> list[Tensor]:
        """Open-loop predictions from every frame at once.

        Entry ``j`` is ``[B, T-1-j, Z]``: row ``t`` predicts frame ``t+1+j`` from frame ``t``.
        """
        now, predicted = z[:, :-1], []
        for j in range(steps):
            action = actions[:, j:]
            n = action.shape[1]
            following = predictor(z_prev[:, :n], now[:, :n], a_prev[:, :n], action)
            z_prev, now, a_prev = now[:, :n], following, action
            predicted.append(following)
        return predicted

    def representation_loss(
        self, stage: RepresentationStage, batch: SequenceBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of the first stage, in which the projector learns."""
        c, z = stage, self.network.projector(batch.x)
        z_prev, a_prev = self.context(z, batch.actions, generator)
        predicted = self.unroll(self.guide, z, z_prev, a_prev, batch.actions, len(c.rollout))
        normal = self.network.predictor.scale(batch.actions)
        alike = {}
        if c.invariance and batch.twin is not None:
            with torch.no_grad():
                twin = self.network.projector(batch.twin)
            alike["invariance"] = c.invariance * losses.prediction(z, twin)
        wanted = batch.x[..., : self.config.reconstructed]
        rebuilt = losses.moving(self.decode(z), wanted, c.motion, c.foreground)
        return {
            **_errors(predicted, z.detach() if c.stop_gradient else z, c.rollout),
            "straighten": c.straightening * losses.straightening(z),
            "inverse": c.inverse * F.mse_loss(self.invert(z), normal),
            "reconstruct": c.reconstruction * rebuilt,
            **alike,
        }

    def embedding_loss(
        self, transitions: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """Terms of the second stage, from ``SequenceDataset.transitions`` of projected frames."""
        now, later, actions, frames = transitions
        embedding = self.network.embedding
        assert isinstance(embedding, Embedding)
        first, second = embedding.learned(torch.cat([now, later])).chunk(2)
        seen = first.shape[1] - Embedding.MOVED
        push = actions.unflatten(-1, (-1, self.control)).sum(dim=-2)
        push = push / push.std(dim=0).clamp(min=1e-6)
        read = self.moved((second - first)[:, seen:])
        return {
            "contrast": contrast(
                first[:, :seen],
                second[:, :seen],
                frames[:, None] != frames[None],  # a frame drawn twice is no negative of itself
                self.log_sharpness,
            ),
            "moved": F.mse_loss(read, push),
        }

    def dynamics_loss(
        self,
        stage: DynamicsStage,
        batch: SequenceBatch,
        demonstrations: SequenceBatch,
        ahead: int,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Weighted terms of the last stage; the batches hold latents in place of tokens.

        Args:
            stage: has the weights.
            batch: of all episodes, for predictor and goal distance.
            shown: of demonstrations, for the proposer.
            ahead: blocks to roll out.
        """
        c, head = stage, self.network.proposer
        z = batch.x
        z_prev, a_prev = self.context(z, batch.actions, generator)
        predictor = self.network.predictor
        predicted = self.unroll(predictor, z, z_prev, a_prev, batch.actions, ahead)
        terms = _errors(predicted, z, c.rollout[:ahead])
        if c.proposer:
            plans, logits, target, mask = self.propose(
                demonstrations, demonstrations.x, demonstrations.near, generator
            )
            loss, winner = losses.winner_takes_all(plans, logits, target, mask)
            head.track(plans, target, mask, winner)
            terms["propose"] = c.proposer * loss
        if c.distance:
            terms["distance"] = c.distance * self._distances(
                batch, predicted[0], stage.goal_frames, generator
            )
        return terms

    def _distances(
        self,
        batch: SequenceBatch,
        predicted: Tensor,
        frames: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Error of the goal distance, see ``dynamics_loss``.

        The critic also sees predicted latents: those are what it judges while planning. It judges
        a few frames of a window, for it has a goal for each and would cost more than the rest.
        """
        z = batch.x
        far = batch.far[:, None].expand_as(z)
        order = torch.randperm(z.shape[1] - 1, generator=generator).to(z.device)
        some = order[:frames]
        distances = (
            self._distance(z[:, some], far[:, some], batch.k_far[:, some]),
            self._distance(z[:, some], batch.near[:, some], batch.k_near[:, some]),
            self._distance(predicted[:, some].detach(), far[:, some], batch.k_far[:, some + 1]),
        )
        return torch.stack(distances).mean()

    def propose(
        self, batch: SequenceBatch, z: Tensor, near: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plans, logits, recorded blocks and mask, rows flattened over windows and frames."""
        head = self.network.proposer
        z_prev, a_prev = self.context(z, batch.actions, generator)
        plans, logits = head(z_prev, z[:, :-1], a_prev, near)
        mask = torch.arange(plans.shape[-2], device=z.device) < batch.k_near[..., None]
        target = head.scale(batch.plans)
        return plans.flatten(0, 1), logits.flatten(0, 1), target.flatten(0, 1), mask.flatten(0, 1)

    def _distance(self, z: Tensor, goal: Tensor, k: Tensor) -> Tensor:
        """Error of the goal distance where the goal lies ahead: ``[…, Z]`` twice, ``k […]``."""
        ahead = k >= 0
        return losses.log_steps(self.network.distance(z[ahead], goal[ahead]), k[ahead].float())

    @torch.no_grad()
    def validate(self, batch: SequenceBatch, settled: bool) -> dict[str, float]:
        """Numbers on held-out windows.

        ``EF_k`` is 1 - Σ(ẑ - z)² / Σ(copy - z)² after k blocks open loop: above 0 beats copying.
        R² values are 1 for perfect; ``proposer_*`` are mean squared errors over the recorded
        blocks' variance; ``distance_r2`` scores log(1 + blocks); ``rank`` is the participation
        ratio of the latent (a sudden fall is collapse).

        Args:
            batch: windows of tokens.
            settled: judge what is shipped; before the last stage only the projector is, with the
                predictor that guides it. A taught actor is judged by its own training.
        """
        raw = self.network.projector(batch.x)
        z = self.network.whiten(self.network.embedding(raw)) if settled else raw
        predictor = self.network.predictor if settled else self.guide
        z_prev, a_prev = self.context(z, batch.actions, None)
        out: dict[str, float] = {}
        steps = min(5, z.shape[1] - 2)
        rows = self.unroll(predictor, z, z_prev, a_prev, batch.actions, steps)
        for j, row in enumerate(rows):
            truth, copy = z[:, j + 2 :], z[:, 1 : -1 - j]  # frame 0 has no velocity: left out
            error = (row[:, 1:] - truth).square().sum()
            out[f"EF_{j + 1}"] = float(1 - error / (copy - truth).square().sum())
        if self.config.steps:  # otherwise the latent came without what shaped it
            wanted = self.network.predictor.scale(batch.actions)
            out["inverse_r2"] = float(r2(self.invert(raw), wanted, axis=None))
            tokens = batch.x[..., : self.config.reconstructed]
            out["reconstruct_r2"] = float(r2(self.decode(raw), tokens, axis=None))
        out["rank"] = participation_ratio(torch.linalg.eigvalsh(torch.cov(z.flatten(0, 1).T)))
        out["latent_std"] = float(z.flatten(0, 1).std(0).mean())
        if not settled:
            return out
        near, far = self.network.project(batch.near), self.network.project(batch.far)
        if not self.network.sizes.actor:
            plans, logits, target, mask = self.propose(batch, z, near, None)
            per_head = (plans - target[:, None]).square().mean(3)
            errors = (per_head * mask[:, None]).sum(2) / mask.sum(1).clamp(min=1)[:, None]
            some_ahead = mask.any(1)
            out["proposer_best"] = float(errors[some_ahead].min(1).values.mean())
            out["proposer_first"] = float(errors[some_ahead, logits[some_ahead].argmax(1)].mean())
        ahead = batch.k_far >= 0
        guess = self.network.distance(z, far[:, None].expand_as(z))
        steps_to_go = torch.log1p(batch.k_far[ahead].float())
        out["distance_r2"] = float(r2(guess[ahead], steps_to_go, axis=None))
        return out


def _errors(
    predicted: list[Tensor], target: Tensor, weights: tuple[float, ...]
) -> dict[str, Tensor]:
    """Weighted open-loop errors, see ``TrainingModule.unroll``."""
    return {
        f"predict_{j + 1}": weight * losses.prediction(row, target[:, j + 1 :])
        for j, (weight, row) in enumerate(zip(weights, predicted, strict=True))
    }
