"""Training clips: two frames one block apart and the actions between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.images import Size, sides, spelled
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.looks import label, source_of, twins
from robot_wm.data.normalization import Statistics


class ClipSampler:
    """Pairs of frames one block apart from *training* episodes, by the shares of their data sets.

    All training frames are held in memory (12 KB each at 64 px); a draw is one gather per data set.
    Scenes are numbered by task name; action blocks are normalised per scene, and as wide as the
    widest robot's: what another one lacks is zero, in sums NaN, since there is nothing to infer.

    Args:
        stores: data sets.
        block: control steps between the frames.
        image_size: of the frames [px], a number or (height, width).
        dataset_weights: weight of each collection, by its name (1 where unnamed).
        clips_per_episode: clips drawn from one episode at a time.

    Raises:
        DataError: no clip, another image size, or frames not stored at block boundaries.
    """

    def __init__(
        self,
        stores: Sequence[EpisodeReader],
        block: int,
        image_size: Size,
        dataset_weights: Mapping[str, float] | None = None,
        clips_per_episode: int = 1,
    ) -> None:
        self.clips_per_episode = clips_per_episode
        labels = [label(store.schema) for store in stores]
        weights = np.array([(dataset_weights or {}).get(name, 1.0) for name in labels])
        if not weights.sum() > 0:
            raise ConfigError(
                f"dataset_weights {dict(dataset_weights or {})}",
                "a share above 0 for one of them", "correct `pretrain.dataset_weights`",
            )  # fmt: skip
        self.dataset_weights = weights / weights.sum()
        self.control_dim = max(len(store.schema.control_low) for store in stores)
        self.scenes = sorted({store.schema.task for store in stores})
        self.strides = [block // store.schema.frame_every for store in stores]
        self.alike = [name == "nominal" for name in labels]
        self.parts = [_clips(store, block, image_size) for store in stores]
        self.action_dim = max(actions.shape[1] for _, _, actions, _ in self.parts)
        self.twins = [self._twins(stores, i, block) for i in range(len(stores))]
        self.owner = [self.scenes.index(store.schema.task) for store in stores]
        self.statistics = {}
        self.summed_actions: list[np.ndarray] = [np.zeros(0)] * len(stores)
        for number, scene in enumerate(self.scenes):
            of_scene = [i for i, owner in enumerate(self.owner) if owner == number]
            fitted = Statistics.fit(np.concatenate([self.parts[i][2] for i in of_scene]))
            self.statistics[scene] = fitted
            for i in of_scene:
                frames, first, actions, episode = self.parts[i]
                self.parts[i] = (frames, first, fitted.normalize(actions), episode)
                controls = len(stores[i].schema.control_low)
                self.summed_actions[i] = actions.reshape(len(actions), -1, controls).sum(1)
            summed = Statistics.fit(np.concatenate([self.summed_actions[i] for i in of_scene]))
            for i in of_scene:
                self.summed_actions[i] = summed.normalize(self.summed_actions[i])

    def __len__(self) -> int:
        """Number of clips."""
        return sum(len(first) for _, first, _, _ in self.parts)

    def draw(self, rng: np.random.Generator, batch: int) -> dict[str, Tensor]:
        """Draw clips.

        Returns:
            ``frames`` uint8 ``[B, 2, H, W, 3]``, ``actions`` float32 ``[B, A]``, ``summed_action``
            (summed control actions; NaN where a robot has no such control) float32 ``[B, C]``,
            both normalised per scene, ``scene`` int64
            ``[B]``, ``appearance_id`` int64 ``[B]`` and ``clip`` int64 ``[B]``: clips of one look
            were drawn with the same appearance (all of a nominal collection, one episode of
            another). Where there are collections in other looks, ``twin`` uint8 ``[B, 2, H, W, 3]``
            shows the states of ``frames`` in the look of the source, of other clips the same.
        """
        # Whole parts of the shares first; who gets the remainder is drawn.
        counts = np.floor(self.dataset_weights * batch).astype(int)
        rest = self.dataset_weights * batch - counts
        if left := batch - int(counts.sum()):
            np.add.at(counts, rng.choice(len(counts), left, p=rest / rest.sum()), 1)
        frames = np.empty((batch, 2, *self.parts[0][0].shape[1:]), np.uint8)
        actions = np.zeros((batch, self.action_dim), np.float32)
        summed_action = np.full((batch, self.control_dim), np.nan, np.float32)
        appearance_id, clip = np.empty(batch, np.int64), np.empty(batch, np.int64)
        twin = frames if all(pair is None for pair in self.twins) else np.empty_like(frames)
        start = seen = 0
        for i, share in enumerate(counts):
            _, first, blocks, episode = self.parts[i]
            chosen, stop = self._chosen(episode, rng, share), start + share
            frames[start:stop] = self._pixels(i, chosen)
            if twin is not frames:
                shown, rows = self.twins[i] or (i, np.arange(len(first)))
                twin[start:stop] = self._pixels(shown, rows[chosen])
            summed = self.summed_actions[i]
            actions[start:stop, : blocks.shape[1]] = blocks[chosen]
            summed_action[start:stop, : summed.shape[1]] = summed[chosen]
            appearance_id[start:stop] = seen + (0 if self.alike[i] else episode[chosen])
            clip[start:stop] = seen + chosen
            start, seen = stop, seen + len(first)
        pairs = {} if twin is frames else {"twin": torch.from_numpy(twin)}
        return {
            **pairs,
            "frames": torch.from_numpy(frames),
            "actions": torch.from_numpy(actions),
            "summed_action": torch.from_numpy(summed_action),
            "scene": torch.from_numpy(np.repeat(self.owner, counts)),
            "appearance_id": torch.from_numpy(appearance_id),
            "clip": torch.from_numpy(clip),
        }

    def _pixels(self, part: int, clips: np.ndarray) -> np.ndarray:
        """Both frames of clips of a data set, uint8 ``[B, 2, H, W, 3]``."""
        pixels, first = self.parts[part][:2]
        return pixels[first[clips][:, None] + [0, self.strides[part]]]

    def _twins(
        self, stores: Sequence[EpisodeReader], index: int, block: int
    ) -> tuple[int, np.ndarray] | None:
        """Of clips in other looks: the data set that shows them as recorded, and each one's there.

        Raises:
            DataError: that data set is not among them, or holds other episodes.
        """
        look, number = stores[index], source_of(stores, index)
        if number is None:
            if label(look.schema) != look.schema.collection:
                raise DataError(
                    f"{look.root} without what it shows in other looks",
                    f"{look.schema.collection} beside it", "name both, e.g. in `pretrain_on`",
                )  # fmt: skip
            return None
        chosen, place = look.indices("train", block), stores[number].indices("train", block)
        rank = {position: k for k, position in enumerate(place)}
        shown = np.array([rank[p] for p in twins(look, stores[number], chosen)])
        own, theirs = self.parts[index][3], self.parts[number][3]
        inside = np.arange(len(own)) - np.searchsorted(own, own)
        return number, np.searchsorted(theirs, shown)[own] + inside

    def _chosen(self, episode: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
        """``count`` clips, ``clips_per_episode`` of each episode drawn: the row of each."""
        anchors = rng.integers(0, len(episode), -(-count // self.clips_per_episode))
        low = np.searchsorted(episode, episode[anchors])
        high = np.searchsorted(episode, episode[anchors], side="right")
        own = rng.integers(low[:, None], high[:, None], (len(anchors), self.clips_per_episode))
        return own.flatten()[:count]


def _clips(
    store: EpisodeReader, block: int, image_size: Size
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames ``[F, H, W, 3]``; of each clip first frame ``[C]``, raw block ``[C, A]``, episode."""
    schema = store.schema
    every = schema.frame_every
    if sides(schema.image_size) != sides(image_size) or block % every:
        raise DataError(
            f"{store.root}: {spelled(schema.image_size)} px, a frame every {every} control steps",
            f"{spelled(image_size)} px, a divisor of {block} control steps",
            "collect at the encoder's image size, or change the encoder's",
        )
    stride, chosen = block // every, store.indices("train", block)
    total = sum(map(store.frames_of, chosen))
    frames = np.empty((total, *sides(image_size), 3), np.uint8)
    firsts, blocks, numbers, start = [], [], [], 0
    for number, i in enumerate(chosen):
        episode = store[i]
        count = len(episode.frames)
        frames[start : start + count] = episode.frames
        own = np.arange(max(0, count - stride))
        firsts.append(start + own)
        numbers.append(np.full(len(own), number))
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
    return frames, first, np.concatenate(blocks), np.concatenate(numbers)
