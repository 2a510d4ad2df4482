"""Two views of a picture must embed alike, and embeddings must not collapse: the shared half.

The views are one frame under two photometric changes (never a flip: actions have a handedness), or
a frame and the next one. The house's tokens carry no position of their own, so a mean over them
would not know where anything is: the projector reduces each and reads all side by side.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.config import Within, check_fields
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.pretraining.jitter import apply_jitter, draw_jitter
from robot_wm.pretraining.objectives import Batch, Objective

Size = Annotated[int, Within(1, 8192)]


@dataclass(frozen=True)
class TwoViewsConfig:
    """Options of every objective of two views.

    Attributes:
        strength: of the colour changes, see :func:`apply_jitter`.
        next_frame: whether the second view is the clip's other frame (slowness).
        reduced: numbers per token in the projector.
        hidden, size: width of its two hidden layers, and of the embedding. Covariances of a batch
            smaller than the embedding are noise.
    """

    strength: Annotated[float, Within(0, 4)] = 0.4
    next_frame: bool = False
    reduced: Size = 8
    hidden: Size = 256
    size: Size = 64

    def __post_init__(self) -> None:
        check_fields(self, "objective.options")


class TwoViews(Objective):
    """Encoder and projector; a subclass compares the embeddings.

    Statistics are taken over the clips at one time: a clip's two frames are no independent samples.
    """

    def __init__(self, config: TwoViewsConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        c = self.config = config
        self._encoder = VideoEncoder(encoder)
        self.projector = nn.Sequential(
            nn.Linear(encoder.width, c.reduced), nn.Flatten(),
            nn.Linear(encoder.tokens * c.reduced, c.hidden), nn.BatchNorm1d(c.hidden), nn.ReLU(),
            nn.Linear(c.hidden, c.hidden), nn.BatchNorm1d(c.hidden), nn.ReLU(),
            nn.Linear(c.hidden, c.size),
        )  # fmt: skip

    @property
    def encoder(self) -> VideoEncoder:
        """The encoder that learns; the projector is thrown away."""
        return self._encoder

    @abstractmethod
    def compare(
        self, a: Tensor, b: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the embeddings ``[2, B, D]`` (frame, clip) of both views, and its parts."""

    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """See :class:`Objective`."""
        first = batch["frames"].transpose(0, 1)
        second = first.flip(0) if self.config.next_frame else first
        a, b = (self._embed(frames, rng) for frames in (first, second))
        total, parts = self.compare(a, b, rng)
        numbers = {name: float(value.detach()) for name, value in parts.items()}
        spread = float(a.detach().std(1).mean())
        return total, {**numbers, "loss": float(total.detach()), "embedding_std": spread}

    def _embed(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Frames ``[2, B, H, W, 3]``, changed, to embeddings ``[2, B, D]``."""
        flat = frames.flatten(0, 1)
        changed = apply_jitter(flat, draw_jitter(rng, len(flat)), self.config.strength)
        embedded: Tensor = self.projector(self._encoder(changed[:, None]))
        return embedded.unflatten(0, frames.shape[:2])


def centered_views(z: Tensor) -> Tensor:
    """Embeddings ``[T, B, D]`` without the mean over the clips of each time."""
    return z - z.mean(1, keepdim=True)


def torch_generator(rng: np.random.Generator) -> torch.Generator:
    """A generator for torch, seeded by ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))
