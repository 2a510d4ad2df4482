"""Training windows: consecutive block frames of one episode, held in memory as reduced tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.errors import DataError
from robot_wm.core.system.progress import progress
from robot_wm.data.episodes import AGENT
from robot_wm.data.formats.base import EpisodeReader, open_stores
from robot_wm.data.latent_cache import LatentStore
from robot_wm.data.looks import twin_rows
from robot_wm.encoders.token_pca import TokenPCA

Pair = tuple[EpisodeReader, LatentStore]


def open_pairs(
    task: str, datasets: Sequence[Path], latents: Sequence[Path], encoder_sha: str
) -> list[Pair]:
    """Data sets with their caches, in the given order; all must describe the same robot.

    Raises:
        DataError: another task, robot, encoder or data set than the caches were made for.
    """
    if len(datasets) != len(latents) or not datasets:
        raise DataError(
            f"{len(datasets)} data sets with {len(latents)} latent caches",
            "one cache per data set, in the same order",
            "call `build_latents` for each data set; `robot-wm train` does",
        )
    return [
        (store, LatentStore(path, store, encoder_sha))
        for store, path in zip(open_stores(task, datasets), latents, strict=True)
    ]


def usable(store: EpisodeReader, split: str) -> list[int]:
    """Positions of the episodes of a split that have a block or more."""
    return store.indices(split, store.schema.frame_every)


def sample_tokens(pairs: Sequence[Pair], count: int) -> np.ndarray:
    """About ``count`` training frames' tokens, evenly spaced over all sets, ``[N, P, D]``."""
    places = evenly([store for store, _ in pairs], count)
    return np.concatenate([np.asarray(pairs[p][1].latents_of(i)[some]) for p, i, some in places])


def evenly(stores: Sequence[EpisodeReader], count: int) -> Iterator[tuple[int, int, slice]]:
    """About ``count`` training frames, evenly spaced: data set, position and which of its frames.

    Raises:
        DataError: there is no training episode.
    """
    places = [(p, i) for p, store in enumerate(stores) for i in usable(store, "train")]
    if not places:
        raise DataError("no training episode", "some episodes", "collect more data")
    lengths = [stores[p].frames_of(i) for p, i in places]
    stride, offset = max(1, sum(lengths) // count), 0
    for (p, i), length in zip(places, lengths, strict=True):
        yield p, i, slice(-offset % stride, None, stride)
        offset += length


def block_actions(store: EpisodeReader, index: int) -> np.ndarray:
    """Recorded actions of one episode, block by block: float32 ``[blocks, A]``."""
    actions, every = store[index].actions, store.schema.frame_every
    blocks = len(actions) // every
    # Not -1: an episode shorter than a block has none, of the usual size.
    return actions[: blocks * every].reshape(blocks, every * actions.shape[1]).astype(np.float32)


def is_demonstration(meta: Mapping[str, Any], noise: float) -> bool:
    """Whether an episode shows how goals are reached: an expert's or agent's, up to this noise."""
    return meta.get("policy") in ("expert", AGENT) and meta.get("noise", 0.0) <= noise


@dataclass(frozen=True)
class SequenceBatch:
    """One draw of windows.

    Attributes:
        x: reduced tokens ``[B, W, P, R]``, or latents ``[B, W, Z]`` (see
            ``SequenceDataset.apply``).
        actions: block leaving each frame ``[B, W-1, A]``.
        plans: the ``horizon`` blocks leaving each frame ``[B, W-1, H, A]``; those that lie beyond
            the episode are arbitrary and never scored, since a goal lies inside the episode.
        near: the same of a goal ahead of each frame but the last, ``[B, W-1, …]``.
        far: the same of one frame anywhere in the episode, ``[B, …]``.
        k_near: blocks from each frame to its goal, ``[B, W-1]``, at least 1.
        k_far: blocks from each frame to the far one ``[B, W]``; negative when it has passed.
        twin: the same as ``x`` in the look of the source, where there are such looks.
    """

    x: Tensor
    actions: Tensor
    plans: Tensor
    near: Tensor
    far: Tensor
    k_near: Tensor
    k_far: Tensor
    twin: Tensor | None = None


class SequenceDataset:
    """All windows of one split of one or several data sets.

    Args:
        pairs: data sets with their latent caches.
        split: ``train``, ``validation`` or ``test``.
        reduce: fitted reduction.
        window: ``W``, frames per window.
        horizon: ``H``, blocks per plan.
        goal_range: near goals lie up to this many blocks ahead.
        noise: windows of experts' and agents' episodes with at most this action noise are
            demonstrations.
        dataset_weights: how often windows of each data set are drawn; empty draws all windows
            alike.
        device: where batches are made.
        projector: maps reduced tokens to latents ``[F, Z]`` that are stored in their place, for
            stages that need no tokens; they take a fraction of the memory.
    """

    twin: np.ndarray | None = (
        None  # row of the same state as it was recorded, where there are looks
    )

    def __init__(
        self,
        pairs: Sequence[Pair],
        split: str,
        reduce: TokenPCA,
        window: int,
        horizon: int,
        goal_range: int,
        noise: float,
        device: str = "cpu",
        dataset_weights: Sequence[float] = (),
        projector: nn.Module | None = None,
    ) -> None:
        self.window, self.horizon, self.goal_range = window, horizon, goal_range
        places = [(p, i) for p, (store, _) in enumerate(pairs) for i in usable(store, split)]
        lengths = [len(pairs[p][1].latents_of(i)) for p, i in places]
        size = pairs[0][0].schema.frame_every * len(pairs[0][0].schema.control_low)
        x = torch.empty(0)
        actions = torch.zeros(sum(lengths) + horizon, size)
        self.first = np.zeros(sum(lengths), np.int64)
        last = np.zeros(sum(lengths), np.int64)
        starts, demonstrations, first = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
        origin = np.zeros(sum(lengths), np.int64)
        with progress(f"{split} windows", len(places)) as report:
            for done, ((p, i), frames) in enumerate(zip(places, lengths, strict=True), start=1):
                tokens = torch.from_numpy(np.array(pairs[p][1].latents_of(i), np.float32))
                with torch.no_grad():
                    rows = reduce(tokens).half()
                    rows = rows if projector is None else projector(rows.float())
                if not len(x):
                    x = torch.empty(sum(lengths), *rows.shape[1:], dtype=rows.dtype)
                x[first : first + frames] = rows
                blocks = torch.from_numpy(block_actions(pairs[p][0], i))
                actions[first : first + len(blocks)] = blocks
                self.first[first : first + frames], origin[first : first + frames] = first, p
                last[first : first + frames] = first + frames - 1
                starts.append(np.arange(first, first + frames - window + 1))
                if is_demonstration(pairs[p][0].meta(i), noise):
                    demonstrations.append(starts[-1])
                first += frames
                report(done)
        self.twin = twin_rows([store for store, _ in pairs], places, lengths)
        self.x, self.actions = x.to(device), actions.to(device)
        self.starts, self.last, self.device = np.concatenate(starts), last, device
        experts = np.concatenate(demonstrations)
        self.demonstrations = experts if len(experts) else self.starts
        self._from = [
            self._sources(origin[s], dataset_weights) for s in (self.starts, self.demonstrations)
        ]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.starts)

    @torch.no_grad()
    def apply(self, module: nn.Module) -> None:
        """Keep ``module`` of the rows in their place, e.g. latents ``[F, Z]`` for tokens."""
        self.x = torch.cat([module(part.float()) for part in self.x.split(512)])

    def draw(
        self, count: int, rng: np.random.Generator, demonstrations: bool = False
    ) -> SequenceBatch:
        """``count`` windows at random, with replacement; of demonstrations alone if so set."""
        return self.gather(self._pick(count, rng, demonstrations), rng)

    @staticmethod
    def _sources(
        origin: np.ndarray, dataset_weights: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Ends, sizes and shares of the data sets in windows that run data set by data set.

        Raises:
            DataError: no window in any data set that is to be drawn from.
        """
        if not len(dataset_weights) or not len(origin):
            return None
        ends = np.searchsorted(origin, np.arange(len(dataset_weights)), side="right")
        sizes = np.diff(ends, prepend=0)
        wanted = np.where(sizes > 0, dataset_weights, 0.0)
        if not wanted.sum() > 0:
            raise DataError(
                f"dataset_weights {tuple(dataset_weights)} for {sizes.tolist()} windows",
                "a share above 0 where there are windows (of demonstrations too)",
                "correct `train.dataset_weights` or collect longer episodes",
            )
        return ends, sizes, wanted / wanted.sum()

    def _pick(
        self, count: int, rng: np.random.Generator, demonstrations: bool = False
    ) -> np.ndarray:
        """First frames of ``count`` windows."""
        starts, sources = (
            (self.starts, self.demonstrations)[demonstrations],
            self._from[demonstrations],
        )
        if sources is None:
            return starts[rng.integers(len(starts), size=count)]
        ends, sizes, dataset_weights = sources
        which = rng.choice(len(sizes), size=count, p=dataset_weights)
        return starts[ends[which] - 1 - (rng.random(count) * sizes[which]).astype(np.int64)]

    def transitions(
        self, episodes: int, each: int, rng: np.random.Generator, across: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``each`` frames of every one of ``episodes`` random ones, spread over the episode.

        Args:
            across: show the later row in the look of the source.

        Returns:
            Rows at the frames and one block later ``[episodes · each, …]``, the block between
            them ``[…, A]``, and which frame each is (a short episode gives some of them twice).
        """
        start = self.starts[rng.integers(len(self.starts), size=episodes)]
        first, count = self.first[start][:, None], (self.last - self.first)[start][:, None]
        place = (np.arange(each) + rng.random((episodes, each))) / each
        frames = (first + (place * count).astype(np.int64)).reshape(-1)
        index = self._index(frames)
        later = self.twin[frames + 1] if across and self.twin is not None else frames + 1
        return self._rows(frames), self._rows(later), self.actions[index], index

    def evenly_spaced(self, count: int, rng: np.random.Generator) -> SequenceBatch:
        """Up to ``count`` windows evenly spaced over the split."""
        picks = np.linspace(0, len(self.starts) - 1, min(count, len(self.starts))).astype(int)
        return self.gather(self.starts[picks], rng)

    def gather(self, starts: np.ndarray, rng: np.random.Generator) -> SequenceBatch:
        """The windows at ``starts`` ``[B]``; ``rng`` draws their goals."""
        frames = starts[:, None] + np.arange(self.window)
        left = frames[:, :-1]
        near = left + rng.integers(1, self.goal_range + 1, size=left.shape)
        near = np.minimum(near, self.last[starts][:, None])
        far = rng.integers(starts, self.last[starts] + 1)
        return SequenceBatch(
            x=self._rows(frames),
            actions=self.actions[self._index(left)],
            plans=self.actions[self._index(left[..., None] + np.arange(self.horizon))],
            near=self._rows(near),
            far=self._rows(far),
            k_near=self._index(near - left),
            k_far=self._index(far[:, None] - frames),
            twin=None if self.twin is None else self._rows(self.twin[frames]),
        )

    def _index(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self.device)

    def _rows(self, rows: np.ndarray) -> Tensor:
        return self.x[self._index(rows)].float()
