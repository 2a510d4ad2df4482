"""Frames as such models see them: windows of recorded episodes, on a canvas of 64 x 64 pixels.

World Models (Ha & Schmidhuber 2018, arXiv:1803.10122) and Dreamer (Hafner et al. 2023,
arXiv:2301.04104) both shrink what the camera sees to 64 x 64; pictures of another size are
resampled, and what is imagined is resampled back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.core.errors import DataError
from robot_wm.core.images import Size, sides
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.sequences import block_actions

CANVAS = 64  # [px]
CONTRAST = 0.05  # least difference from the backdrop of what counts as foreground


def to_canvas(frames: Tensor) -> Tensor:
    """Frames uint8 ``[N, height, width, 3]`` to images float32 ``[N, 3, 64, 64]`` in 0 … 1."""
    images = frames.permute(0, 3, 1, 2).float() / 255
    if images.shape[2:] == (CANVAS, CANVAS):
        return images
    return F.interpolate(images, (CANVAS, CANVAS), mode="bilinear", align_corners=False)


def to_frames(images: Tensor, size: Size) -> np.ndarray:
    """Images ``[N, 3, 64, 64]`` to frames uint8 ``[N, height, width, 3]``."""
    if images.shape[2:] != sides(size):
        images = F.interpolate(images, sides(size), mode="bilinear", align_corners=False)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def drawn_onto(backdrop: Tensor, logits: Tensor) -> Tensor:
    """Images in 0 … 1 of a decoder's logits, which say what is unlike the mean training frame.

    An untrained decoder draws that frame. One that first had to learn the large bright background
    drove its rectifiers into silence there and never drew anything else.

    Args:
        backdrop: mean training frame ``[3, 64, 64]``.
        logits: ``[N, 3, 64, 64]``.
    """
    return (logits + backdrop.clamp(0.02, 0.98).logit()).sigmoid()


def pixel_loss(rebuilt: Tensor, images: Tensor, backdrop: Tensor, foreground: float) -> Tensor:
    """Squared error summed over the pixels of an image, ``[N]``; the foreground counts more.

    A sum, not a mean: the unit-variance likelihood that both papers maximise, in whose units the
    KL term is. A pusher of twelve pixels costs fewer nats than its place does, so that the plain
    sum leaves it out; pixels unlike the mean training frame therefore weigh 1 + ``foreground``.

    Args:
        rebuilt, images: ``[N, 3, 64, 64]``.
        backdrop: mean training frame ``[3, 64, 64]``.
        foreground: extra weight; 0 is the published loss.
    """
    apart = (images - backdrop).abs().amax(dim=1, keepdim=True) > CONTRAST
    error = (rebuilt - images).square()
    return (error * (1 + foreground * apart)).sum(dim=(1, 2, 3))


@dataclass(frozen=True)
class FrameBatch:
    """Windows of consecutive block frames.

    Attributes:
        frames: uint8 ``[B, W, height, width, 3]``.
        actions: block leaving each frame but the last, float32 ``[B, W-1, A]``.
    """

    frames: Tensor
    actions: Tensor


class FrameWindows:
    """All windows of one split of some data sets, read where they are stored.

    Args:
        stores: data sets of one robot.
        split: ``train``, ``validation`` or ``test``.
        window: ``W``, frames per window.
    """

    def __init__(self, stores: Sequence[EpisodeReader], split: str, window: int) -> None:
        self.window = window
        steps = [(window - 1) * store.schema.frame_every for store in stores]
        self.places = [
            (store, i)
            for store, least in zip(stores, steps, strict=True)
            for i in store.indices(split, least)
        ]
        counts = [store.frames_of(i) - window + 1 for store, i in self.places]
        self.ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        """Number of windows."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def draw(self, count: int, rng: np.random.Generator) -> FrameBatch:
        """``count`` windows at random, with replacement."""
        return self.gather(rng.integers(len(self), size=count))

    def evenly_spaced(self, count: int) -> FrameBatch:
        """Up to ``count`` windows evenly spaced over the split.

        Raises:
            DataError: there is none.
        """
        if not len(self):
            raise DataError(
                f"no episode has {self.window} block frames",
                f"episodes of at least {self.window - 1} blocks",
                "collect longer episodes or train with a smaller window",
            )
        return self.gather(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))

    def gather(self, numbers: np.ndarray) -> FrameBatch:
        """The windows of these numbers ``[B]``."""
        frames, actions = [], []
        for number in numbers:
            place = int(np.searchsorted(self.ends, number, side="right"))
            store, i = self.places[place]
            start = int(number) - (int(self.ends[place - 1]) if place else 0)
            frames.append(np.asarray(store[i].frames[start : start + self.window]))
            actions.append(block_actions(store, i)[start : start + self.window - 1])
        return FrameBatch(torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(actions)))
