"""What is trained: the shipped network, the heads that only training needs, and their loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm import losses
from robot_wm.errors import ConfigError
from robot_wm.jepa import COSTS, Network, Sizes
from robot_wm.projector import Decoder
from robot_wm.windows import Batch

SETTLING = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class TrainConfig:
    """World-model training; the defaults make a network of about 8 MB.

    Attributes:
        task: must be the data set's.
        steps, batch, window: optimiser steps, windows a step, block frames per window.
        settle, settle_batch: further steps with the projector fixed: latents are computed once,
            and predictor, proposer and goal distance see many more windows. The predictor's error
            is then weighed by the metric of the cost.
        lr, warmup, weight_decay, clip, ema: AdamW with linear warm-up and cosine decay to 0,
            gradient norm clip, decay of the weight average that is validated and shipped.
        seed, threads, device: of torch.
        eval_every, checkpoint_every, log_every: in steps.
        reduced, channels, keypoints: projector (see ``jepa.Sizes``).
        width, blocks, horizon, heads, proposer_width, distance_width: see ``jepa.Sizes``.
        decoded: leading components per token that the feature decoder must rebuild.
        motion: extra weight of tokens that change, in units of their mean change.
        rollout: weight of the open-loop error after 1, 2, … blocks; three alike while settling.
        stop_gradient: whether prediction targets are constants for the projector.
        context_dropout: how often the previous frame is withheld.
        straightening, inverse, reconstruction, proposer, distance: loss weights.
        goal_range: proposer goals lie 1 … goal_range blocks ahead.
        cost: the shipped model's step cost, ``latent``, ``distance`` or ``both``.

    Raises:
        ConfigError: a value outside its range.
    """

    task: str
    steps: int = 20_000
    settle: int = 1_200
    batch: int = 256
    settle_batch: int = 128
    window: int = 8
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
    width: int = 384
    blocks: int = 3
    horizon: int = 5
    heads: int = 4
    proposer_width: int = 256
    distance_width: int = 128
    decoded: int = 32
    motion: float = 1.0
    rollout: tuple[float, ...] = (1.0, 1.0)
    stop_gradient: bool = False
    context_dropout: float = 0.25
    straightening: float = 0.1
    inverse: float = 1.0
    reconstruction: float = 4.0
    proposer: float = 1.0
    distance: float = 1.0
    goal_range: int = 10
    cost: str = "latent"

    @property
    def total(self) -> int:
        """All optimiser steps."""
        return self.steps + self.settle

    def __post_init__(self) -> None:
        checks = {
            "steps, batch, eval_every, checkpoint_every, log_every": (
                min(self.steps, self.eval_every, self.checkpoint_every, self.log_every) >= 1
                and self.batch >= 2,
                "at least 1 (batch 2)",
            ),
            "window": (self.window >= max(4, 1 + len(self.rollout)), "≥ 4 and > rollout"),
            "rollout": (len(self.rollout) >= 1, "one weight or more"),
            "settle": (self.settle >= 0 and self.settle_batch >= 2, "0 or more, batch 2 or more"),
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
    """Network, inverse dynamics and feature decoder.

    The two heads keep the latent from forgetting: without them a compact latent trained only to
    be predictable throws fine pose away although its loss looks fine.
    """

    explained: Tensor

    def __init__(self, sizes: Sizes, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.network = Network(sizes)
        self.inverse = nn.Sequential(
            nn.Linear(2 * sizes.latent, 256), nn.GELU(), nn.Linear(256, sizes.action)
        )
        self.decoder = Decoder(sizes.positions, config.decoded, sizes.channels, sizes.keypoints)
        self.register_buffer("explained", torch.zeros(()))
        self.settled = False

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

    def unroll(
        self, z: Tensor, z_prev: Tensor, a_prev: Tensor, actions: Tensor, steps: int
    ) -> list[Tensor]:
        """Open-loop predictions from every frame at once.

        Entry ``j`` is ``[B, T-1-j, Z]``: row ``t`` predicts frame ``t+1+j`` from frame ``t``.
        """
        now, predicted = z[:, :-1], []
        for j in range(steps):
            action = actions[:, j:]
            n = action.shape[1]
            following = self.network.predictor(z_prev[:, :n], now[:, :n], a_prev[:, :n], action)
            z_prev, now, a_prev = now[:, :n], following, action
            predicted.append(following)
        return predicted

    def terms(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Every term of the loss, already weighted; their sum is minimised."""
        c, net = self.config, self.network
        z = self.look(batch.x)
        z_prev, a_prev = self.context(z, batch.actions, generator)
        weights = SETTLING if self.settled else c.rollout
        target = z.detach() if c.stop_gradient else z
        predicted = self.unroll(z, z_prev, a_prev, batch.actions, len(weights))
        metric = net.metric if self.settled else 1.0
        out = {
            f"predict_{j + 1}": weight * losses.prediction(row, target[:, j + 1 :], metric)
            for j, (weight, row) in enumerate(zip(weights, predicted, strict=True))
        }
        if not self.settled:
            normal = net.predictor.scale(batch.actions)
            features = batch.x[..., : c.decoded]
            rebuilt = losses.moving(self.decode(z), features, c.motion)
            out["straighten"] = c.straightening * losses.straightening(z)
            out["inverse"] = c.inverse * F.mse_loss(self.invert(z), normal)
            out["reconstruct"] = c.reconstruction * rebuilt
        out.update(self.goal_terms(batch, z.detach(), z_prev.detach(), a_prev, predicted[0]))
        return out

    def look(self, x: Tensor) -> Tensor:
        """Latents of a batch's rows, which are latents already once the projector is fixed."""
        return x if self.settled else self.network.projector(x)

    def goal_terms(
        self, batch: Batch, z: Tensor, z_prev: Tensor, a_prev: Tensor, predicted: Tensor
    ) -> dict[str, Tensor]:
        """Proposer and goal distance, in hindsight, on latents that they do not shape."""
        c, head = self.config, self.network.proposer
        with torch.no_grad():
            near, far = self.look(torch.stack([batch.near, batch.far]))
        plans, logits, target, mask = self.propose(batch, z, z_prev, a_prev, near)
        loss, winner = losses.winner_takes_all(plans, logits, target, mask)
        if self.training:
            head.track(plans, target, mask, winner)
        # The critic also sees predicted latents: those are what it judges while planning.
        distances = (
            self._distance(z, far, batch.k_far),
            self._distance(z, near, batch.k_near),
            self._distance(predicted.detach(), far, batch.k_far[:, 1:]),
        )
        return {
            "propose": c.proposer * loss,
            "distance": c.distance * torch.stack(distances).mean(),
        }

    def propose(
        self, batch: Batch, z: Tensor, z_prev: Tensor, a_prev: Tensor, near: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Plans, logits, recorded blocks and mask, rows flattened over windows and frames."""
        head = self.network.proposer
        goal = near[:, None].expand_as(z_prev)
        plans, logits = head(z_prev, z[:, :-1], a_prev, goal)
        k = batch.k_near[:, :-1, None]
        steps = torch.arange(plans.shape[-2], device=z.device)
        mask = (steps < k) & (k <= self.config.goal_range)
        target = head.scale(batch.plans)
        return plans.flatten(0, 1), logits.flatten(0, 1), target.flatten(0, 1), mask.flatten(0, 1)

    def _distance(self, z: Tensor, goal: Tensor, k: Tensor) -> Tensor:
        ahead = k >= 0
        return losses.log_steps(
            self.network.distance(z[ahead], goal[:, None].expand_as(z)[ahead]), k[ahead].float()
        )

    @torch.no_grad()
    def validate(self, batch: Batch) -> dict[str, float]:
        """Numbers on held-out windows.

        ``EF_k`` is 1 - Σ(ẑ - z)² / Σ(copy - z)² after k blocks open loop: above 0 beats copying.
        R² values are 1 for perfect; ``proposer_*`` are mean squared errors over the recorded
        blocks' variance; ``distance_r2`` scores log(1 + blocks); ``rank`` is the participation
        ratio of the latent (a sudden fall is collapse).
        """
        z = self.network.projector(batch.x)
        z_prev, a_prev = self.context(z, batch.actions, None)
        out: dict[str, float] = {}
        steps = min(5, z.shape[1] - 2)
        for j, row in enumerate(self.unroll(z, z_prev, a_prev, batch.actions, steps)):
            truth, copy = z[:, j + 2 :], z[:, 1 : -1 - j]  # frame 0 has no velocity: left out
            error = (row[:, 1:] - truth).square().sum()
            out[f"EF_{j + 1}"] = float(1 - error / (copy - truth).square().sum())
        out["inverse_r2"] = r2(self.invert(z), self.network.predictor.scale(batch.actions))
        out["reconstruct_r2"] = r2(self.decode(z), batch.x[..., : self.config.decoded])
        near, far = self.network.projector(torch.stack([batch.near, batch.far]))
        plans, logits, target, mask = self.propose(batch, z, z_prev, a_prev, near)
        per_head = (plans - target[:, None]).square().mean(3)
        errors = (per_head * mask[:, None]).sum(2) / mask.sum(1).clamp(min=1)[:, None]
        rows = mask.any(1)
        out["proposer_best"] = float(errors[rows].min(1).values.mean())
        out["proposer_first"] = float(errors[rows, logits[rows].argmax(1)].mean())
        ahead = batch.k_far >= 0
        guess = self.network.distance(z, far[:, None].expand_as(z))
        out["distance_r2"] = r2(guess[ahead], torch.log1p(batch.k_far[ahead].float()))
        spectrum = torch.linalg.eigvalsh(torch.cov(z.flatten(0, 1).T))
        out["rank"] = float(spectrum.sum().square() / spectrum.square().sum())
        out["latent_std"] = float(z.flatten(0, 1).std(0).mean())
        return out


def r2(guess: Tensor, truth: Tensor) -> float:
    """1 - Σ(guess - truth)² / Σ(truth - mean)², the mean taken per trailing dimension(s)."""
    spread = (truth - truth.mean(dim=0)).square().sum()
    return float(1 - (guess - truth).square().sum() / spread)
