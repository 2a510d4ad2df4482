"""Training windows of raw pictures: consecutive block frames of one episode, and what was done.

Pictures are gathered from where the data format has them, which for our own is a memory map: a
collection need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.sequences import block_actions, usable


class FrameWindows:
    """All windows of ``W`` frames of one split of one or several data sets.

    Args:
        stores: data sets of one robot.
        split: ``train``, ``validation`` or ``test``.
        window: ``W``.

    Attributes:
        actions: recorded blocks of all episodes of the split, one after the other, ``[F, A]``.
    """

    def __init__(self, stores: Sequence[EpisodeReader], split: str, window: int) -> None:
        self.window = window
        self._frames, blocks, places = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        first = 0
        for store in stores:
            for i in usable(store, split):
                frames, own = store[i].frames, block_actions(store, i)
                count = max(0, len(frames) - window + 1)
                start = np.arange(count)
                episode = np.full(count, len(self._frames))
                places.append(np.stack([episode, start, first + start], axis=1))
                self._frames.append(frames)
                blocks.append(own)
                first += len(own)
        size = stores[0].schema.frame_every * len(stores[0].schema.control_low)
        self._places = np.concatenate([np.zeros((0, 3), np.int64), *places])
        self.actions = np.concatenate([np.zeros((0, size), np.float32), *blocks])

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._places)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """``count`` windows at random, with replacement; see :meth:`gather`."""
        return self.gather(rng.integers(len(self), size=count))

    def evenly_spaced(self, count: int) -> tuple[Tensor, Tensor]:
        """Up to ``count`` windows evenly spaced over the split; see :meth:`gather`."""
        return self.gather(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))

    def gather(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pictures uint8 ``[B, W, height, width, 3]`` and the blocks between ``[B, W-1, A]``."""
        chosen = self._places[numbers]
        pixels = [self._frames[episode][s : s + self.window] for episode, s, _ in chosen]
        steps = chosen[:, 2:] + np.arange(self.window - 1)
        return torch.from_numpy(np.stack(pixels)), torch.from_numpy(self.actions[steps])
