"""Windows of consecutive block frames as they lie in the episodes: nothing is held in memory.

What a window shows is up to its maker: the pictures themselves, or cached tokens of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.sequences import block_actions, usable

Rows = Callable[[int, int], np.ndarray]
"""What frames of an episode are, ``[F, …]``, by number of its data set and position there."""


class WindowBatch(NamedTuple):
    """Windows of frames ``[B, W, …]`` and the blocks between them ``[B, W-1, A]``, task unit."""

    frames: Tensor
    actions: Tensor


class Windows:
    """All windows of one split of one or several data sets of one robot.

    Args:
        stores: data sets.
        split: ``train``, ``validation`` or ``test``.
        window: ``W``, frames.
        rows: see :data:`Rows`; arrays may be memory maps.

    Attributes:
        rows, actions: of each episode, all its rows and the recorded blocks ``[·, A]``.
    """

    def __init__(
        self, stores: Sequence[EpisodeReader], split: str, window: int, rows: Rows
    ) -> None:
        self.window = window
        places = [(n, i) for n, store in enumerate(stores) for i in usable(store, split)]
        self.rows = [rows(n, i) for n, i in places]
        self.actions = [block_actions(stores[n], i) for n, i in places]
        counts = [max(0, len(blocks) - window + 2) for blocks in self.actions]
        self._ends = np.cumsum(counts)

    def __len__(self) -> int:
        """Number of windows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def draw(self, count: int, rng: np.random.Generator) -> WindowBatch:
        """``count`` windows at random, with replacement.

        Raises:
            DataError: there is none.
        """
        self._check()
        return self.gather(rng.integers(len(self), size=count))

    def evenly_spaced(self, count: int) -> WindowBatch:
        """Up to ``count`` windows evenly spaced over the split.

        Raises:
            DataError: there is none.
        """
        self._check()
        return self.gather(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))

    def _check(self) -> None:
        if not len(self):
            raise DataError(
                f"no episode has {self.window} block frames",
                f"episodes of at least {self.window - 1} blocks",
                "collect longer episodes or train with a shorter window",
            )

    def gather(self, numbers: np.ndarray) -> WindowBatch:
        """The windows of these numbers ``[B]``."""
        rows, actions = [], []
        for number in numbers:
            episode = int(np.searchsorted(self._ends, number, side="right"))
            first = int(number) - (int(self._ends[episode - 1]) if episode else 0)
            rows.append(self.rows[episode][first : first + self.window])
            actions.append(self.actions[episode][first : first + self.window - 1])
        return WindowBatch(
            torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(actions).copy())
        )


def frame_windows(stores: Sequence[EpisodeReader], split: str, window: int) -> Windows:
    """Windows of the pictures themselves, uint8 ``[B, W, height, width, 3]``."""
    return Windows(stores, split, window, lambda number, i: stores[number][i].frames)
