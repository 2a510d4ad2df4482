"""The episode format: append-only shards of raw, memory-mapped columns.

A data set is a folder::

    dataset.json            the schema: task, camera, action spec, seeds, collection config
    shard-00000/            written in one step, a pure function of (dataset.json, index)
        manifest.json       hashes of the columns
        episodes.json       one record per episode: id, length, seed, policy, noise, factors
        frames.npy          uint8   [F, size, size, 3]
        states.npy          float64 [R, S]   full physics state (mj_getState, integration)
        poses.npy           float64 [R, K]   privileged pose: labels and scoring only
        proprio.npy         float32 [R, P]
        actions.npy         float32 [R - episodes, A]

An episode of ``T`` actions has ``T+1`` rows of states, poses and proprio, and one frame every
``frame_every`` control steps starting with row 0: ``T // frame_every + 1`` frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_wm.errors import DataError
from robot_wm.manifest import (
    atomic_folder,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)

SCHEMA = "dataset.json"
COLUMNS = ("frames", "states", "poses", "proprio", "actions")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Schema:
    """What every shard of a data set has in common.

    ``config`` is the full collection configuration; together with the shard index it determines
    every byte of a shard.
    """

    task: str
    collection: str
    image_size: int
    frame_every: int
    control_dt: float
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    pose_names: tuple[str, ...]
    state_dim: int
    proprio_dim: int
    seed: int
    episodes_per_shard: int
    config: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types (tuples become lists)."""
        value = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Schema:
        """Inverse of :meth:`to_json`."""
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in value.items()
        }
        return Schema(**fields)


@dataclass(frozen=True)
class Episode:
    """One recorded episode; arrays may be views into a memory map."""

    id: int
    frames: np.ndarray
    states: np.ndarray
    poses: np.ndarray
    proprio: np.ndarray
    actions: np.ndarray
    meta: dict[str, Any]

    def __len__(self) -> int:
        """Number of actions ``T``."""
        return len(self.actions)


class Recording:
    """An episode while it happens.

    Args:
        obs, info: what ``Environment.reset`` returned.
        frame_every: control steps from one kept frame to the next.
    """

    def __init__(self, obs: Mapping[str, Any], info: Mapping[str, Any], frame_every: int) -> None:
        self._every = frame_every
        self._rows: dict[str, list[np.ndarray]] = {
            "frames": [obs["image"]], "states": [info["state"]], "poses": [info["pose"]],
            "proprio": [obs["proprio"]], "actions": [],
        }  # fmt: skip

    def add(self, action: np.ndarray, obs: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        """One control step: the executed action ``[A]`` and what ``step`` returned after it."""
        rows = self._rows
        rows["actions"].append(action)
        rows["states"].append(info["state"])
        rows["poses"].append(info["pose"])
        rows["proprio"].append(obs["proprio"])
        if len(rows["actions"]) % self._every == 0:
            rows["frames"].append(obs["image"])

    def episode(self, index: int, meta: dict[str, Any]) -> Episode:
        """All of it."""
        return Episode(index, meta=meta, **{k: np.stack(v) for k, v in self._rows.items()})


def split_of(task: str, collection: str, episode_id: int) -> str:
    """``train`` 85 %, ``validation`` 5 %, ``test`` 10 %, from a hash stable under appending."""
    key = f"split-v1:{task}:{collection}:{episode_id}".encode()
    u = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    return "test" if u < 0.10 else "validation" if u < 0.15 else "train"


def open_dataset(root: Path, schema: Schema) -> None:
    """Create ``dataset.json``, or check that the existing one is the same.

    Raises:
        DataError: the folder holds a data set made with another configuration.
    """
    path = root / SCHEMA
    if not path.exists():
        write_json(path, schema.to_json())
        return
    found = read_json(path)
    wanted = schema.to_json()
    if found != wanted:
        keys = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise DataError(
            f"{root} was collected with another configuration (differs in: {', '.join(keys)})",
            "the configuration in its dataset.json",
            "choose another name or delete that folder",
        )


def shard_path(root: Path, index: int) -> Path:
    """Folder of shard ``index``."""
    return root / f"shard-{index:05d}"


def write_shard(root: Path, index: int, episodes: Sequence[Episode]) -> None:
    """Write one shard in one step.

    Raises:
        StorageError: the disk is full; nothing is left behind.
    """
    with atomic_folder(shard_path(root, index)) as work:
        for name in COLUMNS:
            rows = np.concatenate([getattr(episode, name) for episode in episodes])
            np.save(work / f"{name}.npy", rows, allow_pickle=False)
        records = [{**e.meta, "id": e.id, "length": len(e)} for e in episodes]
        write_json(work / "episodes.json", records)
        write_manifest(work, "shard", parents={}, facts={"index": index})


class EpisodeStore:
    """Read access to a data set. Columns are memory-mapped; nothing is copied until used.

    Raises:
        DataError: no data set there, or a shard is corrupt.
    """

    def __init__(self, root: Path, verify: bool = False) -> None:
        self.root = Path(root)
        if not (self.root / SCHEMA).is_file():
            raise DataError(
                f"no data set in {self.root}", f"a folder with {SCHEMA}", "run `robot-wm collect`"
            )
        self.schema = Schema.from_json(read_json(self.root / SCHEMA))
        sizes = (self.schema.state_dim, len(self.schema.pose_names), self.schema.proprio_dim)
        names = ("states", "poses", "proprio")
        self._empty = {name for name, size in zip(names, sizes, strict=True) if not size}
        self._places: list[tuple[int, dict[str, Any], int, int, int]] = []
        self._columns: dict[int, dict[str, np.ndarray]] = {}
        self._digests: list[str] = []
        for path in sorted(self.root.glob("shard-*")):
            self._add(path, verify)
        if not self._places:
            raise DataError(f"{self.root} has no shards", "one or more", "run `robot-wm collect`")

    def _add(self, path: Path, verify: bool) -> None:
        shard = int(path.name.split("-")[1])
        self._digests.append(read_manifest(path, "shard", verify)["sha256"])
        frame, row, action = 0, 0, 0
        for record in read_json(path / "episodes.json"):
            self._places.append((shard, record, frame, row, action))
            frame += record["length"] // self.schema.frame_every + 1
            row += record["length"] + 1
            action += record["length"]

    def _column(self, shard: int, name: str) -> np.ndarray:
        columns = self._columns.setdefault(shard, {})
        if name not in columns:
            path = shard_path(self.root, shard) / f"{name}.npy"
            # Robots know neither state nor pose, and nothing cannot be mapped.
            mode: Literal["r"] | None = None if name in self._empty else "r"
            try:
                columns[name] = np.load(path, mmap_mode=mode, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"cannot map {path}: {error}", "a whole column", "delete this shard, collect"
                ) from error
        return columns[name]

    @cached_property
    def sha256(self) -> str:
        """Hash over the schema and all shards."""
        return sha256_of({"schema": self.schema.to_json(), "shards": self._digests})

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._places)

    def __getitem__(self, index: int) -> Episode:
        shard, record, frame, row, action = self._places[index]
        length = record["length"]
        spans = {
            "frames": (frame, frame + length // self.schema.frame_every + 1),
            "actions": (action, action + length),
        }
        views = {}
        for name in COLUMNS:
            start, stop = spans.get(name, (row, row + length + 1))
            views[name] = self._column(shard, name)[start:stop]
        return Episode(id=record["id"], meta=record, **views)

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def meta(self, index: int) -> dict[str, Any]:
        """The record of an episode without touching its columns."""
        return self._places[index][1]

    def shards(self) -> dict[int, list[int]]:
        """Positions of the episodes of every shard, by its number."""
        found: dict[int, list[int]] = {}
        for i, (shard, *_) in enumerate(self._places):
            found.setdefault(shard, []).append(i)
        return found

    def indices(self, split: str) -> list[int]:
        """Positions of the episodes of one split.

        Raises:
            DataError: an unknown split name.
        """
        if split not in SPLITS:
            raise DataError(f"split {split!r}", f"one of {SPLITS}", "name one of them")
        s = self.schema
        return [
            i
            for i in range(len(self))
            if split_of(s.task, s.collection, self._places[i][1]["id"]) == split
        ]
