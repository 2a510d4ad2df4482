"""What an actor learns from: latents of the teacher's lessons, true ones and imagined ones.

The mirror image of a lesson is another lesson.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.core.symmetry import Mirror
from robot_wm.data.lessons import LessonStore
from robot_wm.data.sequences import Pair, block_actions, is_demonstration
from robot_wm.world_models.jepa.dynamics import LatentPredictor
from robot_wm.world_models.jepa.model import JEPAWorldModel

IMAGINED = 3  # blocks ahead of which imagined latents are kept


@dataclass(frozen=True)
class Draw:
    """Labels: latents ``[B, Z]``, blocks ``[B, A]``, control steps to go ``[B]``."""

    z_prev: Tensor
    z: Tensor
    a_prev: Tensor
    goal: Tensor
    action: Tensor
    togo: Tensor


class Taught:
    """All labels of several stores of lessons, in memory.

    Args:
        stores: lessons, with the folders of their latents in the same order.
        mirror: reflects actions where latents have two views.
        block: control steps of a block.
        predictor: imagines, so that the actor learns from what it will see while it plans.
        held_out: share of the lessons kept for validation.
    """

    def __init__(
        self,
        stores: Sequence[tuple[LessonStore, Sequence[Path]]],
        mirror: Mirror | None,
        block: int,
        predictor: LatentPredictor,
        held_out: float = 0.04,
    ) -> None:
        self.block = block
        parts = [
            part
            for store, folders in stores
            for shard, folder in zip(store.shards, folders, strict=True)
            for part in _views(store, shard, folder, mirror, block)
        ]
        if not parts:
            raise DataError("no lessons", "one shard or more", "run the teacher")
        self.z = torch.from_numpy(np.concatenate([p[0] for p in parts]))
        self.goals = torch.from_numpy(np.concatenate([p[1] for p in parts]))
        self.blocks = torch.from_numpy(np.concatenate([p[2] for p in parts]))
        self.togo = torch.from_numpy(np.concatenate([p[3] for p in parts]))
        self.valid = np.concatenate([p[4] for p in parts])
        self.age = np.concatenate([p[5] for p in parts])  # rows since the lesson's first
        lessons, first = [], 0
        for part in parts:
            lessons.append(part[6] + first)
            first += len(part[1])
        self.lesson = np.concatenate(lessons)
        self.source = np.repeat(
            np.arange(len(stores)),
            [sum(_rows(s, x) for x in s.shards) * (2 if mirror else 1) for s, _ in stores],
        )
        held = np.random.default_rng(0).random(first // (2 if mirror else 1)) < held_out
        hidden = self._pairwise(held, parts, mirror)[self.lesson]
        self.train, self.held_out = (
            np.flatnonzero(self.valid & ~hidden), np.flatnonzero(self.valid & hidden),
        )  # fmt: skip
        ends = np.flatnonzero(np.diff(self.lesson, append=-1))
        self.left = ends[np.searchsorted(ends, np.arange(len(self.z)))] - np.arange(len(self.z))
        self.seen = np.flatnonzero((self.left >= block) & ~hidden)
        self.imagined = self._imagine(predictor)

    @staticmethod
    def _pairwise(held: np.ndarray, parts: list[tuple], mirror: Mirror | None) -> np.ndarray:
        """A lesson and its mirror image are hidden together."""
        if mirror is None:
            return held
        out, first = [], 0
        for plain in parts[::2]:
            own = held[first : first + len(plain[1])]
            out += [own, own]
            first += len(plain[1])
        return np.concatenate(out)

    @torch.inference_mode()
    def _imagine(self, predictor: LatentPredictor) -> list[Tensor]:
        """Entry j: what is expected of every row from ``j`` blocks before; entry 0 is the truth."""
        out = [self.z]
        b, rows = self.block, np.arange(len(self.z))
        for j in range(1, IMAGINED + 1):
            new = out[-1].clone()
            able = rows[self.age >= b * j]
            for part in np.array_split(able, max(1, len(able) // 4096)):
                known = torch.from_numpy(self.age[part] >= 2 * b)[:, None]
                now = out[j - 1][part - b]
                before = torch.where(known, out[max(j - 2, 0)][np.maximum(part - 2 * b, 0)], now)
                done = torch.where(known, self.blocks[np.maximum(part - 2 * b, 0)], 0.0)
                new[part] = predictor(before, now, done, self.blocks[part - b])
            out.append(new)
        return out

    def draw(self, count: int, rng: np.random.Generator, share: float, lost: float) -> Draw:
        """``count`` training labels at random.

        Args:
            share: of them seen in imagination.
            lost: share of them without what was before.
        """
        rows = self.train[rng.integers(len(self.train), size=count)]
        deep = rng.integers(1, IMAGINED + 1, size=count) * (rng.random(count) < share)
        deep = np.where(self.age[rows] >= self.block * deep, deep, 0)
        unknown = (self.age[rows] < self.block) | ((deep == 0) & (rng.random(count) < lost))
        return self.gather(rows, deep, unknown)

    def wander(self, count: int, rng: np.random.Generator, most: int) -> Draw:
        """``count`` training rows with goals that lay on their way, up to ``most`` steps ahead."""
        b = self.block
        rows = self.seen[rng.integers(len(self.seen), size=count)]
        left = np.minimum(self.left[rows], most)
        ahead = rng.integers(b, left + 1)
        got = self.gather(rows, np.zeros(count, int), self.age[rows] < b)
        return replace(got, goal=self.z[rows + ahead], togo=torch.from_numpy(ahead).float())

    def gather(self, rows: np.ndarray, deep: np.ndarray, unknown: np.ndarray) -> Draw:
        """Labels of ``rows`` seen from ``deep`` blocks before, some without their past."""
        z, z_prev = torch.empty(len(rows), self.z.shape[1]), torch.empty(0)
        z_prev = torch.empty_like(z)
        for j in range(IMAGINED + 1):
            at_depth = np.flatnonzero(deep == j)
            z[at_depth] = self.imagined[j][rows[at_depth]]
            z_prev[at_depth] = self.imagined[max(j - 1, 0)][
                np.maximum(rows[at_depth] - self.block, 0)
            ]
        gone = torch.from_numpy(unknown)[:, None]
        a_prev = self.blocks[np.maximum(rows - self.block, 0)]
        return Draw(
            torch.where(gone, z, z_prev), z, torch.where(gone, 0.0, a_prev),
            self.goals[self.lesson[rows]], self.blocks[rows], self.togo[rows],
        )  # fmt: skip


def _rows(store: LessonStore, shard: Path) -> int:
    return sum(record.rows for record in store.records(shard))


def _views(
    store: LessonStore, shard: Path, folder: Path, mirror: Mirror | None, block: int
) -> list[tuple]:
    """Of one shard, per view: latents, goals, blocks, togo, valid, age, lesson of each row."""
    latents, columns = np.load(folder / "latents.npy", allow_pickle=False), store.columns(shard)
    records, actions = store.records(shard), np.asarray(columns["actions"])
    rows = sum(record.rows for record in records)
    clean, togo = np.asarray(columns["clean"]), np.asarray(columns["togo"], np.float32)
    size = actions.shape[1]
    blocks, valid = np.zeros((rows, block * size), np.float32), np.zeros(rows, bool)
    age, lesson, first = np.zeros(rows, np.int64), np.zeros(rows, np.int64), 0
    for index, record in enumerate(records):
        n = record.rows
        own = actions[first : first + n]
        whole = slice(first, first + n - block + 1)
        blocks[whole] = np.stack([own[k : n - block + 1 + k] for k in range(block)], 1).reshape(
            -1, block * size
        )
        wanted = np.stack([clean[first + k : first + n - block + 1 + k] for k in range(block)])
        valid[whole] = wanted.all(axis=0)
        valid[first : first + record.past] = False
        age[first : first + n] = np.arange(n)
        # Without a past the rows of the first block are not what an agent ever sees, but the first.
        if not record.past:
            valid[first + 1 : first + block] = False
        lesson[first : first + n] = index
        first += n
    views = []
    for view, z in enumerate(latents):
        own = mirror.actions(blocks) if view and mirror is not None else blocks
        views.append((z[:rows], z[rows:], own, togo, valid, age, lesson))
    return views


class RecordedRows:
    """Recorded episodes block by block, whose every later frame is a goal in hindsight.

    Args:
        z: latents ``[F, Z]`` of all frames, episode by episode.
        blocks: action that leaves each frame ``[F, A]``, anything in an episode's last.
        lengths: frames of each episode.
    """

    def __init__(self, z: Tensor, blocks: Tensor, lengths: np.ndarray) -> None:
        self.z, self.blocks = z, blocks
        ends = np.cumsum(lengths)
        rows = np.arange(len(z))
        self.left = np.repeat(ends - 1, lengths) - rows
        self.age = rows - np.repeat(ends - lengths, lengths)
        self.able = np.flatnonzero(self.left >= 1)

    @staticmethod
    @torch.inference_mode()
    def load(pairs: Sequence[Pair], model: JEPAWorldModel, noise: float) -> RecordedRows:
        """Training episodes of demonstrators with at most this action noise.

        Raises:
            DataError: there are none.
        """
        latents, blocks, lengths = [], [], []
        for store, cache in pairs:
            for i in store.indices("train"):
                if is_demonstration(store.meta(i), noise):
                    tokens = torch.from_numpy(np.array(cache.latents_of(i), np.float32))
                    own = torch.from_numpy(block_actions(store, i))[: len(tokens) - 1]
                    latents.append(model.network.embed(tokens))
                    missing = torch.zeros(len(tokens) - len(own), own.shape[1])
                    blocks.append(torch.cat([own, missing]))
                    lengths.append(len(tokens))
        if not latents:
            raise DataError(
                f"no demonstration with action noise up to {noise} in the training episodes",
                "an expert's or agent's episode", "teach without them: teach.actor.recorded=0",
            )  # fmt: skip
        return RecordedRows(torch.cat(latents), torch.cat(blocks), np.array(lengths))

    def wander(self, count: int, rng: np.random.Generator, most: int, lost: float) -> Draw:
        """``count`` frames with goals up to ``most`` blocks ahead, some without their past."""
        rows = self.able[rng.integers(len(self.able), size=count)]
        ahead = rng.integers(1, np.minimum(self.left[rows], most) + 1)
        gone = torch.from_numpy((self.age[rows] < 1) | (rng.random(count) < lost))[:, None]
        before = np.maximum(rows - 1, 0)
        return Draw(
            torch.where(gone, self.z[rows], self.z[before]), self.z[rows],
            torch.where(gone, 0.0, self.blocks[before]), self.z[rows + ahead], self.blocks[rows],
            torch.from_numpy(ahead).float(),
        )  # fmt: skip
