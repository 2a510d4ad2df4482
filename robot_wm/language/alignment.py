"""Sentences and latents of pictures in one space: near where the one is true of the other.

VL-JEPA (arXiv:2512.10942), small: symmetric InfoNCE, and no token is ever generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.config import Count, Positive, Seed
from robot_wm.core.errors import DataError
from robot_wm.language.text import SIZE


@runtime_checkable
class EmbedsFrames(Protocol):
    """A world model that gives the latent of a frame."""

    def embed_frames(self, frames: np.ndarray) -> Tensor:
        """Uint8 ``[N, height, width, 3]`` to ``[N, Z]``."""
        ...


@dataclass(frozen=True)
class AlignConfig:
    """How the two heads are trained.

    Attributes:
        shared: size of the space.
        width: of the hidden layers.
        steps, batch, lr: of the training.
        seed: of weights and batches.
    """

    shared: Count = 64
    width: Count = 256
    steps: Count = 1600
    batch: Count = 256
    lr: Positive = 1e-3
    seed: Seed = 0


class Heads(nn.Module):
    """A head for sentence vectors, one for latents, and the temperature between them."""

    def __init__(self, latent: int, width: int, shared: int) -> None:
        super().__init__()
        self.text = _mlp(SIZE, width, shared)
        self.latent = _mlp(latent, width, shared)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def similarity(self, vectors: Tensor, latents: Tensor) -> Tensor:
        """Cosines ``[N, M]`` of sentence vectors ``[N, 256]`` and latents ``[M, Z]``."""
        text = F.normalize(self.text(vectors), dim=-1)
        return text @ F.normalize(self.latent(latents), dim=-1).T


def _mlp(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(inputs), nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width),
        nn.GELU(), nn.Linear(width, outputs),
    )  # fmt: skip


def info_nce(logits: Tensor, true: Tensor) -> Tensor:
    """Symmetric InfoNCE where several may be right: -log of the mean share of what is true.

    Args:
        logits: ``[N, N]``, sentences by pictures.
        true: bool ``[N, N]``, its diagonal true: what says the same is no negative.
    """
    masked = logits.masked_fill(~true, -torch.inf)
    both = [
        (logits.logsumexp(dim) - masked.logsumexp(dim) + true.sum(dim).log()).mean()
        for dim in (0, 1)
    ]
    return (both[0] + both[1]) / 2


def train_heads(
    config: AlignConfig, latents: Tensor, true: np.ndarray, vectors: np.ndarray, said: np.ndarray
) -> Heads:
    """Train both heads.

    Args:
        latents: of pictures ``[M, Z]``; true: what is true of them, int ``[M, D]``.
        vectors: of sentences ``[M, C, 256]``, true of the picture of their row; said: what they
            say, int ``[M, C, D]``, -1 where nothing.

    Raises:
        DataError: latents that are not finite.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    heads = Heads(latents.shape[1], config.width, config.shared)
    optimizer = torch.optim.AdamW(heads.parameters(), config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, config.steps)
    texts = torch.from_numpy(vectors)
    for _ in range(config.steps):
        rows = rng.integers(len(latents), size=config.batch)
        which = rng.integers(vectors.shape[1], size=config.batch)
        words = said[rows, which][:, None]
        fits = torch.from_numpy(((words == -1) | (words == true[rows][None])).all(-1))
        logits = heads.similarity(texts[rows, which], latents[rows]) * heads.log_scale.exp()
        loss = info_nce(logits, fits)
        optimizer.zero_grad()
        loss.backward()
        if not torch.isfinite(loss.detach()):
            raise DataError(
                f"loss {float(loss.detach())} of the pictures' and the sentences' alignment",
                "a finite number", "check the world model whose latents these are",
            )  # fmt: skip
        optimizer.step()
        schedule.step()
        heads.log_scale.data.clamp_(max=4.6)
    return heads.eval().requires_grad_(False)
