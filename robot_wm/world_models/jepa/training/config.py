"""What decides a world model's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from robot_wm.core.config import Count, Fraction, Natural, NonNegative, Within
from robot_wm.world_models.config import FREE as COMMON
from robot_wm.world_models.config import AveragedConfig
from robot_wm.world_models.jepa.model import COSTS
from robot_wm.world_models.jepa.projector import Embedding
from robot_wm.world_models.jepa.training.stages import (
    DynamicsStage,
    EmbeddingStage,
    RepresentationStage,
    Stage,
)

# The latent's own hash is a parent.
FREE = (*COMMON, "latent_of")


@dataclass(frozen=True)
class TrainConfig(AveragedConfig):
    """World-model training in three stages; the defaults make a network of about 2.6 M parameters.

    First the projector learns a latent that keeps the pose and can be predicted. Then it is fixed,
    latents are computed once, and the embedding finds in them what persists. Then that is fixed
    and whitened too, and a fresh predictor, the proposer and the goal distance settle on it, at a
    fraction of the price per window. ``stages`` has them one by one.

    Attributes:
        steps, batch, window: of the first stage: optimiser steps, windows a step, block frames per
            window (of the last as well).
        embedding_steps, embedding_episodes, embedding_frames: of the second stage: optimiser steps,
            episodes a step, frames of each.
        dynamics_steps, dynamics_batch: steps of the last stage, windows a step.
        dataset_weights: how often windows of each data set are drawn in the first and last stage;
            empty draws all windows alike.
        latent_of: folder of a world model whose projector is taken over; then ``steps`` is 0. With
            ``embedding_steps`` 0 its embedding is taken too.
        fine_tune: take the whole of it, whitening and all, and let predictor, proposer and goal
            distance go on learning from there; of a taught model, whose actor learns from lessons,
            with ``proposer`` 0.
        interpolation: share of the weights tuning began with in what is shipped. The mean of a
            model before and after tuning often beats both (Wortsman et al. 2022, arXiv:2109.01903).
        reduced, channels, keypoints: projector (see ``jepa.Sizes``).
        embedding, embedding_width, embedding_blocks, slow: see ``jepa.Sizes``.
        width, blocks, heads: see ``jepa.Sizes``.
        proposer_width, proposer_blocks, distance_width, distance_blocks: see ``jepa.Sizes``.
        reconstructed: leading components per token that the feature decoder must rebuild.
        motion: extra weight of tokens that change, in units of their mean change.
        foreground: extra weight of tokens that are unlike their place's mean, in units of the mean
            square: for small things that seldom move.
        rollout, dynamics_rollout: weight of the open-loop error after 1, 2, … blocks in each stage.
        rollout_share: last share of the settling in which errors beyond one block count; before,
            one block a step learns contact in far less time (docs/log.md).
        stop_gradient: whether prediction targets are constants for the projector.
        context_dropout: how often the previous frame is withheld.
        straightening, inverse, reconstruction, proposer, distance: loss weights; with a weight of 0
            the proposer or the goal distance is left as it is (when tuning).
        invariance: weight of the squared difference between the latent of a frame in another look
            and that of the same state as it was recorded, in the first stage; above 0, frames that
            the embedding is to find alike are in two looks, too. Needs a collection and its
            looks, e.g. ``train_on=[nominal,nominal-looks]``.
        goal_frames: frames of a window from which the goal distance learns, drawn every step.
        goal_range: proposer goals lie 1 … goal_range blocks ahead.
        demonstration_noise: the proposer learns from expert episodes with up to this action noise;
            from all episodes where there are no such.
        cost: the shipped model's step cost, see ``jepa.COSTS``.
    """

    warmup: Natural = 500
    steps: Natural = 20_000
    embedding_steps: Natural = 0
    dynamics_steps: Count = 20_000
    batch: Annotated[int, Within(2, 10**6)] = 256
    dynamics_batch: Annotated[int, Within(2, 10**6)] = 64
    embedding_episodes: Annotated[int, Within(2, 10**6)] = 64
    embedding_frames: Annotated[int, Within(2, 10**6)] = 16
    window: Annotated[int, Within(1, 4096)] = 8
    dataset_weights: tuple[NonNegative, ...] = ()
    latent_of: str = ""
    fine_tune: bool = False
    interpolation: Annotated[float, Within(0, below=1)] = 0.0
    reduced: Annotated[int, Within(1, 4096)] = 64
    channels: Annotated[int, Within(1, 4096)] = 64
    keypoints: Annotated[int, Within(1, 4096)] = 32
    embedding: Annotated[int, Within(0, 4096)] = 0
    embedding_width: Annotated[int, Within(1, 4096)] = 256
    embedding_blocks: Annotated[int, Within(1, 4096)] = 3
    slow: Annotated[int, Within(0, 4096)] = 0
    width: Annotated[int, Within(1, 4096)] = 192
    blocks: Annotated[int, Within(1, 4096)] = 6
    heads: Annotated[int, Within(1, 4096)] = 8
    proposer_width: Annotated[int, Within(1, 4096)] = 192
    proposer_blocks: Annotated[int, Within(1, 4096)] = 6
    distance_width: Annotated[int, Within(1, 4096)] = 192
    distance_blocks: Annotated[int, Within(1, 4096)] = 3
    reconstructed: Annotated[int, Within(1, 4096)] = 32
    motion: NonNegative = 1.0
    foreground: NonNegative = 0.0
    rollout: tuple[NonNegative, ...] = (1.0, 1.0)
    dynamics_rollout: tuple[NonNegative, ...] = (1.0, 1.0, 1.0)
    rollout_share: Fraction = 0.2
    stop_gradient: bool = False
    context_dropout: Fraction = 0.25
    straightening: NonNegative = 0.1
    inverse: NonNegative = 1.0
    reconstruction: NonNegative = 4.0
    proposer: NonNegative = 1.0
    distance: NonNegative = 1.0
    invariance: NonNegative = 0.0
    goal_frames: Annotated[int, Within(1, 4096)] = 3
    goal_range: Annotated[int, Within(1, 4096)] = 8
    demonstration_noise: NonNegative = 0.2
    cost: str = "latent"

    @property
    def total(self) -> int:
        """All optimizer steps."""
        return sum(stage.steps for stage in self.stages)

    @cached_property
    def representation_stage(self) -> RepresentationStage:
        """The first stage."""
        return RepresentationStage(
            self.steps, self.batch, self.rollout, self.motion, self.stop_gradient,
            self.straightening, self.inverse, self.reconstruction, self.invariance, self.foreground,
        )  # fmt: skip

    @cached_property
    def embedding_stage(self) -> EmbeddingStage:
        """The second stage."""
        counts = (self.embedding_steps, self.embedding_episodes, self.embedding_frames)
        return EmbeddingStage(*counts, across=self.invariance > 0)

    @cached_property
    def dynamics_stage(self) -> DynamicsStage:
        """The last stage."""
        return DynamicsStage(
            self.dynamics_steps, self.dynamics_batch, self.dynamics_rollout, self.rollout_share,
            self.proposer, self.distance, self.goal_frames, self.fine_tune,
        )  # fmt: skip

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that are trained, in their order."""
        every = (self.representation_stage, self.embedding_stage, self.dynamics_stage)
        return tuple(stage for stage in every if stage.steps)

    def stage_of(self, step: int) -> tuple[Stage, int]:
        """The stage to which a step (from 1) belongs, and how many steps came before it."""
        start = 0
        for stage in self.stages[:-1]:
            if step <= start + stage.steps:
                return stage, start
            start += stage.steps
        return self.stages[-1], start

    def span(self, step: int) -> tuple[int, int]:
        """See the base."""
        stage, start = self.stage_of(step)
        return start, stage.steps

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """See the base; the stages check themselves."""
        _ = self.stages
        return {
            "steps, latent_of": (
                self.steps == 0 if self.latent_of else self.steps >= 1,
                "at least 1, or 0 with the latent of another model",
            ),
            "embedding, embedding_steps, latent_of": (
                self.embedding_steps == 0
                if not self.embedding
                else self.embedding > Embedding.MOVED
                and (self.embedding_steps >= 1 or bool(self.latent_of)),
                f"embedding 0 and embedding_steps 0, or embedding above {Embedding.MOVED} and "
                "embedding_steps at least 1 (0 only with the latent of another model)",
            ),
            "slow, embedding, keypoints": (
                0 <= self.slow <= (4 * self.keypoints if self.embedding else 0),
                "0, or with an embedding up to 4 numbers per keypoint",
            ),
            "fine_tune, latent_of, embedding_steps": (
                not self.fine_tune or (bool(self.latent_of) and self.embedding_steps == 0),
                "fine_tune only with latent_of, and with embedding_steps 0",
            ),
            "interpolation, fine_tune": (
                0 <= self.interpolation < 1 and (self.fine_tune or not self.interpolation),
                "0 … below 1, above 0 only with fine_tune",
            ),
            "window": (
                self.window >= max(4, 1 + len(self.rollout), 1 + len(self.dynamics_rollout)),
                "≥ 4 and > rollout, dynamics_rollout",
            ),
            "cost": (self.cost in COSTS, f"one of {COSTS}"),
            "reconstructed": (1 <= self.reconstructed <= self.reduced, "1 … reduced"),
            "dataset_weights": (
                not self.dataset_weights
                or (min(self.dataset_weights) >= 0 and sum(self.dataset_weights) > 0),
                "0 or more each, not all 0",
            ),
        }
