"""The stages of world-model training: each one checks itself, draws its batches and has its loss.

A stage trains what no other does, so that optimizer states never mix. When it ends, what it trained
is fixed at its running average, and what comes out of that is what the next one learns from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import ConfigError
from robot_wm.world_models.jepa.projector import Embedding

if TYPE_CHECKING:
    from robot_wm.data.sequences import SequenceDataset
    from robot_wm.world_models.jepa.model import Network
    from robot_wm.world_models.jepa.training.objective import TrainingModule
    from robot_wm.world_models.standardizer import Standardizer

PAIRS = 2**14


def check(holds: bool, received: str, accepted: str) -> None:
    """Refuse values of the options that do not fit.

    Raises:
        ConfigError: they do not.
    """
    if not holds:
        raise ConfigError(received, accepted, "change the training config")


@dataclass(frozen=True)
class Stage(ABC):
    """A part of the training in which some modules learn and the others are fixed.

    Attributes:
        steps: optimizer steps; a stage without any is left out.
    """

    name: ClassVar[str]
    predicts: ClassVar[bool] = True  # whether there is something to validate on held-out windows
    plans: ClassVar[bool] = False  # whether there is something to plan with

    steps: int

    def begin(  # noqa: B027  (a hook; most need none)
        self, network: Network, windows: SequenceDataset, first: bool
    ) -> None:
        """Prepare rows and fixed maps.

        Args:
            network: the averaged one.
            windows: their rows are changed in place.
            first: whether the stage begins; else it goes on after a restart.
        """

    def end(self, network: Network, windows: SequenceDataset) -> None:  # noqa: B027
        """Keep what comes out of what was trained, in place of what went in."""

    @abstractmethod
    def loss(
        self,
        live: TrainingModule,
        windows: SequenceDataset,
        step: int,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Weighted terms of the loss of a freshly drawn batch; ``step`` of the stage, from 1."""


@dataclass(frozen=True)
class RepresentationStage(Stage):
    """The projector learns a latent that keeps the pose and can be predicted.

    Attributes:
        batch: windows a step.
        others: see ``TrainConfig``.
    """

    name = "representation"

    batch: int
    rollout: tuple[float, ...]
    motion: float
    stop_gradient: bool
    straightening: float
    inverse: float
    reconstruction: float
    invariance: float = 0.0
    foreground: float = 0.0

    def __post_init__(self) -> None:
        check(
            self.steps >= 0 and self.batch >= 2,
            f"steps, batch = {self.steps}, {self.batch}",
            "0 or more steps of at least 2 windows",
        )
        check(sum(self.rollout) > 0, f"rollout = {self.rollout}", "one weight or more, not all 0")

    def begin(self, network: Network, windows: SequenceDataset, first: bool) -> None:
        """Refuse to learn invariance from windows without twins."""
        check(
            not self.invariance or windows.twin is not None,
            f"invariance = {self.invariance} without other looks of the same states",
            "a collection and its looks, e.g. train_on=[nominal,nominal-looks], or weight 0",
        )

    def end(self, network: Network, windows: SequenceDataset) -> None:
        """Latents in place of tokens."""
        windows.apply(network.projector)

    def loss(
        self,
        live: TrainingModule,
        windows: SequenceDataset,
        step: int,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Windows of tokens."""
        return live.representation_loss(self, windows.draw(self.batch, rng), generator)


@dataclass(frozen=True)
class EmbeddingStage(Stage):
    """On latents of the fixed projector, the embedding finds what persists.

    Attributes:
        episodes, frames: in a step, and of each.
        across: whether the later frame is shown in the look of its source, where there is one.
    """

    name, predicts = "embedding", False

    episodes: int
    frames: int
    across: bool = False

    def __post_init__(self) -> None:
        check(
            min(self.episodes, self.frames) >= 2 and self.episodes * self.frames <= PAIRS,
            f"embedding_episodes, embedding_frames = {self.episodes}, {self.frames}",
            f"{PAIRS} frames a step or fewer: every one is compared with every other",
        )

    def begin(self, network: Network, windows: SequenceDataset, first: bool) -> None:
        """Fit scale and slow directions of the embedding."""
        if first:
            assert isinstance(network.embedding, Embedding)  # the configuration sees to it
            last = torch.from_numpy(windows.last).to(windows.x.device)
            network.embedding.fit(windows.x, last)

    def loss(
        self,
        live: TrainingModule,
        windows: SequenceDataset,
        step: int,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Frames of some episodes, each with the one a block later."""
        drawn = windows.transitions(self.episodes, self.frames, rng, self.across)
        return live.embedding_loss(drawn)


@dataclass(frozen=True)
class DynamicsStage(Stage):
    """On the finished latent, predictor, proposer and goal distance learn.

    Attributes:
        batch: windows a step.
        fine_tune: whether the latent is whitened already and they have been trained before.
        goal_frames: frames of a window from which the goal distance learns.
        others: see ``TrainConfig`` (``rollout`` is ``dynamics_rollout`` there).
    """

    name, plans = "dynamics", True

    batch: int
    rollout: tuple[float, ...]
    rollout_share: float
    proposer: float
    distance: float
    goal_frames: int
    fine_tune: bool

    def __post_init__(self) -> None:
        check(
            self.steps >= 1 and self.batch >= 2,
            f"dynamics_steps, dynamics_batch = {self.steps}, {self.batch}",
            "at least 1 step of at least 2 windows",
        )
        check(
            sum(self.rollout) > 0,
            f"dynamics_rollout = {self.rollout}",
            "one weight or more, not all 0",
        )
        check(0 <= self.rollout_share <= 1, f"rollout_share = {self.rollout_share}", "0 … 1")
        least = min(self.proposer, self.distance)
        check(
            least >= 0 and (self.fine_tune or least > 0),
            f"proposer, distance, fine_tune = {self.proposer}, {self.distance}, {self.fine_tune}",
            "above 0, or 0 (left as it is) with fine_tune",
        )

    def rollout_blocks(self, step: int) -> int:
        """Blocks that a step of the stage (from 1) rolls out."""
        alone = round((1 - self.rollout_share) * self.steps)
        return len(self.rollout) if step > alone else 1

    def begin(self, network: Network, windows: SequenceDataset, first: bool) -> None:
        """Embed and whiten; fit the whitening and what scales its rows, unless they are fitted."""
        windows.apply(network.embedding)
        fresh = first and not self.fine_tune
        if fresh:
            network.whiten.fit(windows.x.cpu(), torch.from_numpy(windows.last))
        windows.apply(network.whiten)
        if fresh:
            heads = (network.predictor, network.proposer, network.distance)
            _fit_scales(windows.x, *(head.place for head in heads))

    def loss(
        self,
        live: TrainingModule,
        windows: SequenceDataset,
        step: int,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Windows of latents, and others of demonstrations for the proposer."""
        batch = windows.draw(self.batch, rng)
        demonstrations = (
            windows.draw(self.batch, rng, demonstrations=True) if self.proposer else batch
        )
        return live.dynamics_loss(self, batch, demonstrations, self.rollout_blocks(step), generator)


def _fit_scales(rows: Tensor, *scales: Standardizer) -> None:
    std, mean = torch.std_mean(rows.float(), dim=0)
    for scale in scales:
        scale.mean.copy_(mean)
        scale.std.copy_(std.clamp(min=1e-3 * float(std.max())))
