"""What is trained: the shipped network, the heads that only training needs, and their loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm import losses
from robot_wm.errors import ConfigError
from robot_wm.jepa import COSTS, Network, Sizes
from robot_wm.predictor import Predictor
from robot_wm.projector import Decoder, Embedding
from robot_wm.windows import Batch


@dataclass(frozen=True)
class TrainConfig:
    """World-model training in three stages; the defaults make a network of about 5 M parameters.

    First the projector learns a latent that keeps the pose and can be predicted. Then it is fixed,
    latents are computed once, and the embedding finds in them what persists. Then that is fixed
    and whitened too, and a fresh predictor, the proposer and the goal distance settle on it, at a
    fraction of the price per window.

    Attributes:
        task: must be the data set's.
        steps, batch, window: of the first stage: optimiser steps, windows a step, block frames per
            window (of the last as well).
        embed, embed_episodes, embed_frames: of the second stage: optimiser steps, episodes a step,
            frames of each.
        settle, settle_batch: steps of the last stage, windows a step.
        latent_of: folder of a world model whose projector is taken over; then ``steps`` is 0. With
            ``embed`` 0 its embedding is taken too.
        lr, warmup, weight_decay, clip, ema: AdamW with linear warm-up and cosine decay to 0 in each
            stage, gradient norm clip, decay of the weight average that is validated and shipped.
        seed, threads, device: of torch.
        eval_every, checkpoint_every, log_every: in steps.
        reduced, channels, keypoints: projector (see ``jepa.Sizes``).
        embedding, embedding_width, embedding_blocks: see ``jepa.Sizes``.
        width, blocks, horizon, heads: see ``jepa.Sizes``.
        proposer_width, proposer_blocks, distance_width, distance_blocks: see ``jepa.Sizes``.
        decoded: leading components per token that the feature decoder must rebuild.
        motion: extra weight of tokens that change, in units of their mean change.
        rollout, settle_rollout: weight of the open-loop error after 1, 2, … blocks in each stage.
        rollout_share: last share of the settling in which errors beyond one block count; before,
            one block a step learns contact in far less time (docs/log.md).
        stop_gradient: whether prediction targets are constants for the projector.
        context_dropout: how often the previous frame is withheld.
        straightening, inverse, reconstruction, proposer, distance: loss weights.
        goal_range: proposer goals lie 1 … goal_range blocks ahead.
        demonstration_noise: the proposer learns from expert episodes with up to this action noise;
            from all episodes where there are no such.
        cost: the shipped model's step cost, see ``jepa.COSTS``.

    Raises:
        ConfigError: a value outside its range.
    """

    task: str
    steps: int = 20_000
    embed: int = 0
    settle: int = 20_000
    batch: int = 256
    settle_batch: int = 64
    embed_episodes: int = 64
    embed_frames: int = 16
    window: int = 8
    latent_of: str = ""
    lr: float = 5e-4
    warmup: int = 500
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    eval_every: int = 2_000
    checkpoint_every: int = 500
    log_every: int = 100
    reduced: int = 64
    channels: int = 64
    keypoints: int = 32
    embedding: int = 0
    embedding_width: int = 256
    embedding_blocks: int = 3
    width: int = 384
    blocks: int = 3
    horizon: int = 5
    heads: int = 8
    proposer_width: int = 384
    proposer_blocks: int = 3
    distance_width: int = 256
    distance_blocks: int = 2
    decoded: int = 32
    motion: float = 1.0
    rollout: tuple[float, ...] = (1.0, 1.0)
    settle_rollout: tuple[float, ...] = (1.0, 1.0, 1.0)
    rollout_share: float = 0.2
    stop_gradient: bool = False
    context_dropout: float = 0.25
    straightening: float = 0.1
    inverse: float = 1.0
    reconstruction: float = 4.0
    proposer: float = 1.0
    distance: float = 1.0
    goal_range: int = 8
    demonstration_noise: float = 0.2
    cost: str = "latent"

    @property
    def total(self) -> int:
        """All optimiser steps."""
        return self.steps + self.embed + self.settle

    def stage(self, step: int) -> tuple[str, int]:
        """Name of the stage to which a step (from 1) belongs, and how many steps came before."""
        if step <= self.steps:
            return "shape", 0
        if step <= self.steps + self.embed:
            return "embed", self.steps
        return "settle", self.steps + self.embed

    def ahead(self, step: int) -> int:
        """Blocks that a step of the last stage rolls out."""
        alone = round((1 - self.rollout_share) * self.settle)
        return len(self.settle_rollout) if step - self.steps - self.embed > alone else 1

    def __post_init__(self) -> None:
        checks = {
            "batch, settle_batch, settle, eval_every, checkpoint_every, log_every": (
                min(self.settle, self.eval_every, self.checkpoint_every, self.log_every) >= 1
                and min(self.batch, self.settle_batch) >= 2,
                "at least 1 (batches 2)",
            ),
            "steps, latent_of": (
                self.steps == 0 if self.latent_of else self.steps >= 1,
                "at least 1, or 0 with the latent of another model",
            ),
            "embedding, embed, latent_of": (
                self.embed == 0
                if not self.embedding
                else self.embedding > Embedding.MOVED and (self.embed >= 1 or bool(self.latent_of)),
                f"embedding 0 and embed 0, or embedding above {Embedding.MOVED} and embed at least "
                "1 (0 only with the latent of another model)",
            ),
            "embed_episodes, embed_frames": (
                min(self.embed_episodes, self.embed_frames) >= 2,
                "2 or more",
            ),
            "window": (
                self.window >= max(4, 1 + len(self.rollout), 1 + len(self.settle_rollout)),
                "≥ 4 and > rollout, settle_rollout",
            ),
            "rollout, settle_rollout": (
                min(len(self.rollout), len(self.settle_rollout)) >= 1,
                "one weight or more",
            ),
            "rollout_share": (0 <= self.rollout_share <= 1, "0 … 1"),
            "motion": (self.motion >= 0, "0 or more"),
            "cost": (self.cost in COSTS, f"one of {COSTS}"),
            "decoded": (1 <= self.decoded <= self.reduced, "1 … reduced"),
            "goal_range": (self.goal_range >= 1, "1 or more"),
        }
        for name, (good, accepted) in checks.items():
            if not good:
                values = ", ".join(repr(getattr(self, key)) for key in name.split(", "))
                raise ConfigError(f"{name} = {values}", accepted, "change the training config")


class Trainee(nn.Module):
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
        self.decoder = Decoder(sizes.positions, config.decoded, sizes.channels, sizes.keypoints)
        raw = 4 * sizes.keypoints
        self.guide = Predictor(raw, sizes.action, sizes.width, sizes.blocks)
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
        predictor: Predictor,
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

    def shape(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted terms of the first stage, in which the projector learns."""
        c = self.config
        z = self.network.projector(batch.x)
        z_prev, a_prev = self.context(z, batch.actions, generator)
        predicted = self.unroll(self.guide, z, z_prev, a_prev, batch.actions, len(c.rollout))
        normal = self.network.predictor.scale(batch.actions)
        rebuilt = losses.moving(self.decode(z), batch.x[..., : c.decoded], c.motion)
        return {
            **_errors(predicted, z.detach() if c.stop_gradient else z, c.rollout),
            "straighten": c.straightening * losses.straightening(z),
            "inverse": c.inverse * F.mse_loss(self.invert(z), normal),
            "reconstruct": c.reconstruction * rebuilt,
        }

    def embed(self, transitions: tuple[Tensor, Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Terms of the second stage; see ``Windows.transitions``, rows being projected frames."""
        now, later, actions, frames = transitions
        first, second = self.network.embedding(torch.cat([now, later])).chunk(2)
        seen = first.shape[1] - Embedding.MOVED
        push = actions.unflatten(-1, (-1, self.control)).sum(dim=-2)
        push = push / push.std(dim=0).clamp(min=1e-6)
        read = self.moved((second - first)[:, seen:])
        return {
            "contrast": losses.contrast(
                first[:, :seen],
                second[:, :seen],
                frames[:, None] != frames[None],  # a frame drawn twice is no negative of itself
                self.log_sharpness,
            ),
            "moved": F.mse_loss(read, push),
        }

    def settle(
        self, batch: Batch, shown: Batch, ahead: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of the last stage; the batches hold latents in place of tokens.

        Args:
            batch: of all episodes, for predictor and goal distance.
            shown: of demonstrations, for the proposer.
            ahead: blocks to roll out.
        """
        c, head = self.config, self.network.proposer
        z = batch.x
        z_prev, a_prev = self.context(z, batch.actions, generator)
        predictor = self.network.predictor
        predicted = self.unroll(predictor, z, z_prev, a_prev, batch.actions, ahead)
        plans, logits, target, mask = self.propose(shown, shown.x, shown.near, generator)
        loss, winner = losses.winner_takes_all(plans, logits, target, mask)
        head.track(plans, target, mask, winner)
        # The critic also sees predicted latents: those are what it judges while planning.
        far = batch.far[:, None].expand_as(z)
        distances = (
            self._distance(z, far, batch.k_far),
            self._distance(z[:, :-1], batch.near, batch.k_near),
            self._distance(predicted[0].detach(), far[:, 1:], batch.k_far[:, 1:]),
        )
        return {
            **_errors(predicted, z, c.settle_rollout[:ahead]),
            "propose": c.proposer * loss,
            "distance": c.distance * torch.stack(distances).mean(),
        }

    def propose(
        self, batch: Batch, z: Tensor, near: Tensor, generator: torch.Generator | None
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
    def validate(self, batch: Batch, settled: bool) -> dict[str, float]:
        """Numbers on held-out windows.

        ``EF_k`` is 1 - Σ(ẑ - z)² / Σ(copy - z)² after k blocks open loop: above 0 beats copying.
        R² values are 1 for perfect; ``proposer_*`` are mean squared errors over the recorded
        blocks' variance; ``distance_r2`` scores log(1 + blocks); ``rank`` is the participation
        ratio of the latent (a sudden fall is collapse).

        Args:
            batch: windows of tokens.
            settled: judge what is shipped; before the last stage only the projector is, with the
                predictor that guides it.
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
            out["inverse_r2"] = r2(self.invert(raw), self.network.predictor.scale(batch.actions))
            out["reconstruct_r2"] = r2(self.decode(raw), batch.x[..., : self.config.decoded])
        spectrum = torch.linalg.eigvalsh(torch.cov(z.flatten(0, 1).T))
        out["rank"] = float(spectrum.sum().square() / spectrum.square().sum())
        out["latent_std"] = float(z.flatten(0, 1).std(0).mean())
        if not settled:
            return out
        near, far = self.network.project(batch.near), self.network.project(batch.far)
        plans, logits, target, mask = self.propose(batch, z, near, None)
        per_head = (plans - target[:, None]).square().mean(3)
        errors = (per_head * mask[:, None]).sum(2) / mask.sum(1).clamp(min=1)[:, None]
        shown = mask.any(1)
        out["proposer_best"] = float(errors[shown].min(1).values.mean())
        out["proposer_first"] = float(errors[shown, logits[shown].argmax(1)].mean())
        ahead = batch.k_far >= 0
        guess = self.network.distance(z, far[:, None].expand_as(z))
        out["distance_r2"] = r2(guess[ahead], torch.log1p(batch.k_far[ahead].float()))
        return out


def _errors(
    predicted: list[Tensor], target: Tensor, weights: tuple[float, ...]
) -> dict[str, Tensor]:
    """Weighted open-loop errors, see ``Trainee.unroll``."""
    return {
        f"predict_{j + 1}": weight * losses.prediction(row, target[:, j + 1 :])
        for j, (weight, row) in enumerate(zip(weights, predicted, strict=True))
    }


def r2(guess: Tensor, truth: Tensor) -> float:
    """1 - Σ(guess - truth)² / Σ(truth - mean)², the mean taken per trailing dimension(s)."""
    spread = (truth - truth.mean(dim=0)).square().sum()
    return float(1 - (guess - truth).square().sum() / spread)
