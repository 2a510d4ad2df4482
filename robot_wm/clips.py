"""Training clips: two frames one block apart and the actions between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from robot_wm.episodes import EpisodeStore
from robot_wm.errors import DataError
from robot_wm.normalization import Statistics


class ClipSampler:
    """Pairs of frames one block apart from *training* episodes, by the shares of their data sets.

    All training frames are held in memory (12 KB each at 64 px); a draw is one gather per data set.
    Scenes are numbered by task name; action blocks are normalised per scene.

    Raises:
        DataError: no clip, another image size, frames not stored at block boundaries, or action
            blocks of different sizes.
    """

    def __init__(
        self,
        stores: Sequence[EpisodeStore],
        block: int,
        image_size: int,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        weights = np.array([(shares or {}).get(s.schema.collection, 1.0) for s in stores])
        self.shares = weights / weights.sum()
        self.control_dim = len(stores[0].schema.control_low)
        self.scenes = sorted({store.schema.task for store in stores})
        self.parts = [_clips(store, block, image_size) for store in stores]
        widths = {actions.shape[1] for _, _, _, actions in self.parts}
        if len(widths) != 1:
            raise DataError(
                f"action blocks of sizes {sorted(widths)}", "one size", "pretrain them separately"
            )
        self.action_dim = widths.pop()
        self.owner = [self.scenes.index(store.schema.task) for store in stores]
        self.statistics = {}
        self.drifts: list[np.ndarray] = [np.zeros(0)] * len(stores)
        for number, scene in enumerate(self.scenes):
            mine = [i for i, owner in enumerate(self.owner) if owner == number]
            fitted = Statistics.fit(np.concatenate([self.parts[i][3] for i in mine]))
            self.statistics[scene] = fitted
            for i in mine:
                frames, first, second, actions = self.parts[i]
                self.parts[i] = (frames, first, second, fitted.normalize(actions))
                self.drifts[i] = actions.reshape(len(actions), -1, self.control_dim).sum(1)
            summed = Statistics.fit(np.concatenate([self.drifts[i] for i in mine]))
            for i in mine:
                self.drifts[i] = summed.normalize(self.drifts[i])

    def __len__(self) -> int:
        """Number of clips."""
        return sum(len(first) for _, first, _, _ in self.parts)

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, Tensor]:
        """Draw clips.

        Returns:
            ``frames`` uint8 ``[B, 2, H, W, 3]``, ``actions`` float32 ``[B, A]``, ``drift`` (summed
            control actions) float32 ``[B, C]``, both normalised per scene, ``scene`` int64 ``[B]``.
        """
        # Whole parts of the shares first; who gets the remainder is drawn.
        shares = np.floor(self.shares * batch).astype(int)
        rest = self.shares * batch - shares
        if left := batch - int(shares.sum()):
            np.add.at(shares, rng.choice(len(shares), left, p=rest / rest.sum()), 1)
        frames = np.empty((batch, 2, *self.parts[0][0].shape[1:]), np.uint8)
        actions = np.empty((batch, self.action_dim), np.float32)
        drift = np.empty((batch, self.control_dim), np.float32)
        start = 0
        for (pixels, first, second, blocks), drifts, share in zip(
            self.parts, self.drifts, shares, strict=True
        ):
            chosen, stop = rng.integers(0, len(first), share), start + share
            frames[start:stop, 0], frames[start:stop, 1] = (
                pixels[first[chosen]],
                pixels[second[chosen]],
            )
            actions[start:stop], drift[start:stop] = blocks[chosen], drifts[chosen]
            start = stop
        return {
            "frames": torch.from_numpy(frames),
            "actions": torch.from_numpy(actions),
            "drift": torch.from_numpy(drift),
            "scene": torch.from_numpy(np.repeat(self.owner, shares)),
        }


def _clips(
    store: EpisodeStore, block: int, image_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``[F, H, W, 3]``, first and second of each clip ``[C]``, raw blocks ``[C, A]``."""
    schema, chosen = store.schema, store.indices("train")
    every = schema.frame_every
    if schema.image_size != image_size or block % every:
        raise DataError(
            f"{store.root}: {schema.image_size} px, a frame every {every} control steps",
            f"{image_size} px, a divisor of {block} control steps",
            "collect at the encoder's image size, or change the encoder's",
        )
    stride = block // every
    total = sum(store.meta(i)["length"] // every + 1 for i in chosen)
    frames = np.empty((total, image_size, image_size, 3), np.uint8)
    firsts, blocks, start = [], [], 0
    for i in chosen:
        episode = store[i]
        count = len(episode.frames)
        frames[start : start + count] = episode.frames
        own = np.arange(max(0, count - stride))
        firsts.append(start + own)
        steps = own[:, None] * every + np.arange(block)
        actions = np.asarray(episode.actions)
        blocks.append(actions[steps].reshape(len(own), block * actions.shape[1]))
        start += count
    first = np.concatenate(firsts) if firsts else np.zeros(0, np.int64)
    if not len(first):
        raise DataError(
            f"{store.root} has no training clip of {block} control steps",
            "training episodes longer than one block",
            "collect more or longer episodes",
        )
    return frames, first, first + stride, np.concatenate(blocks)
