"""The latent cache: with a frozen encoder every image is touched once.

A cache is a folder named after the hash of (encoder, preprocessing, data set)::

    manifest.json               kind "latents", parents {encoder, dataset}
    shard-00000/tokens.npy      float16 [F, P, D], the frames of that shard in their order
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from robot_wm.core.config import Count
from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_folder,
    check_parent,
    lock,
    read_manifest,
    sha256_of,
    write_manifest,
)
from robot_wm.core.storage.records import parse_record
from robot_wm.core.system.progress import Progress, progress
from robot_wm.data.episode_files import UNREADABLE
from robot_wm.data.episodes import EpisodeStore, shard_path

if TYPE_CHECKING:
    from robot_wm.encoders.frozen import FrozenEncoder

# Bump the version when the way frames become tokens changes: old caches are then not found.
KIND, PREPROCESSING = "latents", "frame-alone float16 v1"
BATCH = 256


def cache_path(root: Path, encoder_sha: str, dataset_sha: str) -> Path:
    """Where :func:`build_latents` puts the cache of one encoder and one data set."""
    parts = {"encoder": encoder_sha, "preprocessing": PREPROCESSING, "dataset": dataset_sha}
    return Path(root) / f"latents-{sha256_of(parts)[:16]}"


def build_latents(dataset: Path, encoder: FrozenEncoder, root: Path) -> Path:
    """Encode every frame of a data set, or do nothing where that is already done.

    Each shard is written in one step; an interrupted run goes on at the first missing shard.

    Returns:
        The cache folder, below ``root``.

    Raises:
        DataError: no data set there, or images of another size than the encoder's.
        StorageError: the disk is full, or another process encodes the same.
    """
    store = EpisodeStore(dataset)
    folder = cache_path(root, encoder.sha256, store.sha256)
    if (folder / MANIFEST).is_file():
        return folder
    if store.schema.image_size != encoder.config.image_size:
        raise DataError(
            f"{store.root} holds images of {store.schema.image_size} px",
            f"{encoder.config.image_size} px, the encoder's",
            "collect at that size, or choose an encoder of this one",
        )
    with lock(folder, "encoding into"):
        return _build(store, folder, encoder)


def _build(store: EpisodeStore, folder: Path, encoder: FrozenEncoder) -> Path:
    """Encode what is missing, one process at a time."""
    if (folder / MANIFEST).is_file():
        return folder  # another process was faster
    counts = _frames_by_shard(store)
    done, total = 0, sum(counts.values())
    with progress("latents", total) as report:
        for shard, name in zip(store.shards(), counts, strict=True):
            if not (folder / name).is_dir():
                with atomic_folder(folder / name) as work:
                    frames = store.column(shard, "frames")
                    _encode_shard(frames, encoder, work / "tokens.npy", done, report)
            done += counts[name]
            report(done)
    parents = {"encoder": encoder.sha256, "dataset": store.sha256}
    write_manifest(folder, KIND, parents, {"frames": counts, "preprocessing": PREPROCESSING})
    return folder


def _frames_by_shard(store: EpisodeStore) -> dict[str, int]:
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


def _encode_shard(
    frames: np.ndarray, encoder: FrozenEncoder, target: Path, done: int, report: Progress
) -> None:
    # Written as a stream, not through a memory map: on a full disk a map dies by a signal.
    with target.open("wb") as stream:
        for start in range(0, len(frames), BATCH):
            batch = np.ascontiguousarray(frames[start : start + BATCH])
            with torch.inference_mode():
                tokens = encoder.encode_frames(batch).cpu().numpy().astype(np.float16)
            if not np.isfinite(tokens).all():
                raise DataError(
                    f"non-finite tokens from frame {start} on",
                    "finite float16 tokens",
                    "check the encoder; a diverged one must be trained again",
                )
            if start == 0:
                shape = (len(frames), *tokens.shape[1:])
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(tokens.tobytes())
            report(done + start + len(batch))


class LatentStore:
    """Read access to a cache, by episode of its data set.

    Args:
        folder: the cache.
        store: the data set it was built from.
        encoder_sha: hash of the encoder in use.

    Raises:
        DataError: a cache of another encoder or data set, unfinished, or corrupt.
    """

    def __init__(self, folder: Path, store: EpisodeStore, encoder_sha: str) -> None:
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
