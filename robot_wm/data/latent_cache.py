"""The latent cache: with a frozen encoder every image is touched once.

A cache is a folder named after the hash of (encoder, preprocessing, data set)::

    manifest.json               kind "latents", parents {encoder, dataset}
    shard-00000/tokens.npy      float16 [F, P, D], the frames of that shard in their order
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from robot_wm.core.config import Count
from robot_wm.core.errors import DataError
from robot_wm.core.images import sides, spelled
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_folder,
    check_parent,
    read_manifest,
    sha256_of,
    write_manifest,
)
from robot_wm.core.storage.records import parse_record
from robot_wm.data.episode_files import UNREADABLE
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.data.shards import fill, shard_path

if TYPE_CHECKING:
    from robot_wm.encoders.base import Encoder

# Bump the version when the way frames become tokens changes: old caches are then not found.
KIND, PREPROCESSING = "latents", "frame-alone float16 v1"
BATCH = 256


def cache_path(root: Path, encoder_sha: str, dataset_sha: str) -> Path:
    """Where :func:`build_latents` puts the cache of one encoder and one data set."""
    parts = {"encoder": encoder_sha, "preprocessing": PREPROCESSING, "dataset": dataset_sha}
    return Path(root) / f"latents-{sha256_of(parts)[:16]}"


def build_latents(dataset: Path, encoder: Encoder, root: Path) -> Path:
    """Encode every frame of a data set, or do nothing where that is already done.

    Each shard is written in one step; an interrupted run goes on at the first missing shard.

    Returns:
        The cache folder, below ``root``.

    Raises:
        DataError: no data set there, or images of another size than the encoder's.
        StorageError: the disk is full, or another process encodes the same.
    """
    store = open_episodes(dataset)
    folder = cache_path(root, encoder.sha256, store.sha256)
    if (folder / MANIFEST).is_file():
        return folder
    if sides(store.schema.image_size) != sides(encoder.config.image_size):
        raise DataError(
            f"{store.root} holds images of {spelled(store.schema.image_size)} px",
            f"{spelled(encoder.config.image_size)} px, the encoder's",
            "collect at that size, or choose an encoder of this one",
        )
    fill(folder, store.shards(), _Encoding(store, encoder, folder), "encoding")
    if not (folder / MANIFEST).is_file():  # another process may have been faster
        facts = {"frames": _frames_by_shard(store), "preprocessing": PREPROCESSING}
        write_manifest(folder, KIND, {"encoder": encoder.sha256, "dataset": store.sha256}, facts)
    return folder


def _frames_by_shard(store: EpisodeReader) -> dict[str, int]:
    return {
        shard_path(store.root, shard).name: sum(map(store.frames_of, episodes))
        for shard, episodes in store.shards().items()
    }


@dataclass(frozen=True)
class _Facts:
    """What the manifest of a cache says of it.

    Attributes:
        frames: number of them, by shard.
        preprocessing: see ``PREPROCESSING``.
    """

    frames: dict[str, Count]
    preprocessing: str


@dataclass(frozen=True)
class _Encoding:
    """Writes the tokens of one shard after the other."""

    store: EpisodeReader
    encoder: Encoder
    folder: Path

    def __call__(self, shard: int) -> None:
        episodes = self.store.shards()[shard]
        total, done = sum(map(self.store.frames_of, episodes)), 0
        # Written as a stream, not through a memory map: on a full disk a map dies by a signal.
        with (
            atomic_folder(shard_path(self.folder, shard)) as work,
            (work / "tokens.npy").open("wb") as stream,
        ):
            for frames in frame_batches(self.store, episodes, BATCH):
                tokens = self._encode(frames, done)
                if done == 0:
                    shape = (total, *tokens.shape[1:])
                    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(stream, header)
                stream.write(tokens.tobytes())
                done += len(frames)

    def _encode(self, frames: np.ndarray, first: int) -> np.ndarray:
        """Tokens float16 ``[B, P, D]`` of images uint8 ``[B, H, W, 3]``.

        Raises:
            DataError: a token that is not finite.
        """
        with torch.inference_mode():
            tokens: np.ndarray = self.encoder.encode_frames(frames).cpu().numpy().astype("<f2")
        if not np.isfinite(tokens).all():
            raise DataError(
                f"non-finite tokens from frame {first} on", "finite float16 tokens",
                "check the encoder; a diverged one must be trained again",
            )  # fmt: skip
        return tokens


def frame_batches(store: EpisodeReader, episodes: Sequence[int], size: int) -> Iterator[np.ndarray]:
    """Frames of episodes one after the other, uint8 ``[size, H, W, 3]``; the last are fewer."""
    parts, missing = list[np.ndarray](), size
    for index in episodes:
        frames, start = store[index].frames, 0
        while start < len(frames):
            part = frames[start : start + missing]
            parts.append(part)
            start, missing = start + len(part), missing - len(part)
            if not missing:
                yield np.concatenate(parts)
                parts, missing = [], size
    if parts:
        yield np.concatenate(parts)


class LatentStore:
    """Read access to a cache, by episode of its data set.

    Args:
        folder: the cache.
        store: the data set it was built from.
        encoder_sha: hash of the encoder in use.

    Raises:
        DataError: a cache of another encoder or data set, unfinished, or corrupt.
    """

    def __init__(self, folder: Path, store: EpisodeReader, encoder_sha: str) -> None:
        self.folder = Path(folder)
        rebuild = f"delete {self.folder} and build the latents again"
        try:
            manifest = read_manifest(self.folder, KIND)
        except DataError as error:
            raise DataError(error.received, error.accepted, rebuild) from error
        check_parent(manifest, "encoder", encoder_sha)
        check_parent(manifest, "dataset", store.sha256)
        facts = parse_record(manifest["facts"], _Facts, str(self.folder / MANIFEST), rebuild)
        wanted = _Facts(_frames_by_shard(store), PREPROCESSING)
        if facts != wanted:
            raise DataError(
                f"{self.folder} holds {sum(facts.frames.values())} frames in "
                f"{len(facts.frames)} shards, {facts.preprocessing!r}",
                f"{sum(wanted.frames.values())} in {len(wanted.frames)}, {PREPROCESSING!r}",
                rebuild,
            )  # fmt: skip
        self.shards = [self._open(name, n) for name, n in wanted.frames.items()]
        if len({tokens.shape[1:] for tokens in self.shards}) > 1:
            raise DataError(
                f"tokens of {sorted({t.shape[1:] for t in self.shards})}", "one shape", rebuild
            )
        self._lengths = [store.frames_of(i) for i in range(len(store))]
        self._ends = list(accumulate(self._lengths))
        self._firsts = list(accumulate([0, *map(len, self.shards)]))

    def _open(self, name: str, frames: int) -> np.ndarray:
        path = self.folder / name / "tokens.npy"
        try:
            tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        except UNREADABLE as error:
            raise DataError(
                f"cannot map {path}: {error}", "a whole column", f"delete {self.folder}, rebuild"
            ) from error
        if tokens.ndim != 3 or len(tokens) != frames or tokens.dtype != np.float16:
            raise DataError(
                f"{path} holds {tokens.dtype} {tokens.shape}",
                f"float16 [{frames}, P, D]",
                f"delete {self.folder} and build the latents again",
            )
        return tokens

    @property
    def token_shape(self) -> tuple[int, int]:
        """``(P, D)``."""
        return self.shards[0].shape[1], self.shards[0].shape[2]

    def latents_of(self, index: int) -> np.ndarray:
        """Tokens of one episode, memory-mapped float16 ``[F_i, P, D]``."""
        stop = self._ends[index]
        start = stop - self._lengths[index]
        shard = np.searchsorted(self._firsts, start, side="right") - 1
        first = self._firsts[shard]
        return self.shards[shard][start - first : stop - first]
