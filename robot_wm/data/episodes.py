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
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.storage.json_io import parse_json
from robot_wm.core.storage.provenance import (
    atomic_folder,
    canonical_json,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)
from robot_wm.core.system.progress import notice, progress
from robot_wm.data.episode_files import (
    COLUMNS,
    Schema,
    check_column,
    joined,
    map_column,
    read_records,
)

__all__ = [
    "COLUMNS", "SCHEMA", "SPLITS", "Episode", "EpisodeStore", "Recording", "Schema",
    "open_dataset", "shard_path", "split_of", "write_shard",
]  # fmt: skip
SCHEMA = "dataset.json"
SPLITS = ("train", "validation", "test")
MANY = 100  # shards, from which on checking them takes long enough to say so


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
        """All of it.

        Raises:
            DataError: no action yet, or rows of several sizes.
        """
        try:
            return Episode(index, meta=meta, **{k: np.stack(v) for k, v in self._rows.items()})
        except ValueError as error:
            raise DataError(
                f"episode {index}: {error}", "an action or more, and rows of one size",
                "have every observation and action be of the same size",
            ) from error  # fmt: skip


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
    wanted = parse_json(canonical_json(schema.to_json()))
    found = Schema.from_json(read_json(path), str(path)).to_json()
    if differing := sorted(key for key in wanted if wanted[key] != found[key]):
        raise DataError(
            f"{root} was collected with another configuration: {_differences(found, wanted)}",
            f"the same {', '.join(differing)}", "choose another name or delete that folder",
        )  # fmt: skip


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What is stored and what is asked for, key by key, those of ``config`` by themselves."""
    told = []
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key), wanted.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            told.append(f"{key}: {_differences(old, new)}")
        else:
            told.append(f"{key} {old!r}, not {new!r}")
    return ", ".join(told)


def shard_path(root: Path, index: int) -> Path:
    """Folder of shard ``index``."""
    return root / f"shard-{index:05d}"


def write_shard(root: Path, index: int, episodes: Sequence[Episode]) -> None:
    """Write one shard in one step.

    Raises:
        DataError: ragged, not finite, or unlike the schema of the data set in ``root``.
        StorageError: the disk is full; nothing is left behind.
    """
    target, told = shard_path(root, index), root / SCHEMA
    schema = Schema.from_json(read_json(told), str(told)) if told.is_file() else None
    columns = joined(episodes, schema, str(target))
    with atomic_folder(target) as work:
        for name, rows in columns.items():
            np.save(work / f"{name}.npy", rows, allow_pickle=False)
        records = [{**e.meta, "id": e.id, "length": len(e)} for e in episodes]
        write_json(work / "episodes.json", records)
        write_manifest(work, "shard", parents={}, facts={"index": index})


class EpisodeStore:
    """Read access to a data set. Columns are memory-mapped; nothing is copied until used.

    Args:
        root: the data set's folder.
        verify: hash every file, once per process, and compare every column with schema and
            records; off where only the identity of the data set is asked for.

    Raises:
        DataError: no data set there, or a shard is corrupt.
    """

    def __init__(self, root: Path, verify: bool = True) -> None:
        self.root = Path(root)
        if not (self.root / SCHEMA).is_file():
            raise DataError(
                f"no data set in {self.root}", f"a folder with {SCHEMA}", "run `robot-wm collect`"
            )
        told = read_json(self.root / SCHEMA)
        self.schema = Schema.from_json(told, str(self.root / SCHEMA))
        self._told = told  # as it was written: its hash is the data set's
        self._places: list[tuple[int, dict[str, Any], int, int, int]] = []
        self._shapes: dict[int, dict[str, tuple[int, ...]]] = {}
        self._columns: dict[int, dict[str, np.ndarray]] = {}
        self._digests: list[str] = []
        paths = sorted(self.root.glob("shard-*"))
        long = verify and len(paths) >= MANY
        with progress(f"check {self.root.name}", len(paths)) if long else nullcontext() as show:
            for done, path in enumerate(paths, start=1):
                self._add(path, verify)
                if show:
                    show(done, "shards")
        if not self._places:
            raise DataError(f"{self.root} has no shards", "one or more", "run `robot-wm collect`")
        number, times = Counter(record["id"] for _, record, *_ in self._places).most_common(1)[0]
        if times > 1:
            raise DataError(
                f"{self.root} holds episode {number} twice", "every number once",
                "remove the shard that was copied there",
            )  # fmt: skip

    def _add(self, path: Path, verify: bool) -> None:
        number = path.name.removeprefix("shard-")
        if not re.fullmatch("[0-9]{5,9}", number) or path != shard_path(self.root, int(number)):
            raise DataError(
                f"{path} is no shard", "shard-00000, shard-00001, …", "move it out of the data set"
            )
        shard = int(number)
        try:
            self._digests.append(read_manifest(path, "shard", verify)["sha256"])
        except DataError as error:
            way = f"delete {path} and collect again, or copy it again"
            raise DataError(error.received, error.accepted, way) from error
        records, frame, row, action = read_records(path / "episodes.json"), 0, 0, 0
        for record in records:
            self._places.append((shard, record, frame, row, action))
            frame += record["length"] // self.schema.frame_every + 1
            row += record["length"] + 1
            action += record["length"]
        self._shapes[shard] = self.schema.shapes(frame, row, action)
        if verify:
            for name, shape in self._shapes[shard].items():
                check_column(path / f"{name}.npy", shape)

    def column(self, shard: int, name: str) -> np.ndarray:
        """A whole column of a shard, mapped read-only.

        Raises:
            DataError: missing, of another type or shape than schema and records say, not finite.
        """
        columns = self._columns.setdefault(shard, {})
        if name not in columns:
            path = shard_path(self.root, shard) / f"{name}.npy"
            columns[name] = map_column(path, self._shapes[shard][name])
        return columns[name]

    @cached_property
    def sha256(self) -> str:
        """Hash over the schema and all shards."""
        return sha256_of({"schema": self._told, "shards": self._digests})

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
            views[name] = self.column(shard, name)[start:stop]
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

    def frames_of(self, index: int) -> int:
        """Frames of an episode, without touching its columns."""
        return int(self._places[index][1]["length"]) // self.schema.frame_every + 1

    def needs(self, *columns: str, work: str) -> None:
        """Refuse work that needs what a robot cannot know.

        Raises:
            DataError: one of these columns is empty.
        """
        if empty := [name for name in columns if not self.schema.shapes(0, 0, 0)[name][1]]:
            raise DataError(
                f"{self.root} has no {' and no '.join(empty)}", f"them, for {work} needs them",
                "use a simulated collection; a robot's log can be trained on",
            )  # fmt: skip

    def indices(self, split: str, steps: int = 0) -> list[int]:
        """Positions of the episodes of one split.

        Args:
            split: one of ``SPLITS``.
            steps: shorter episodes are left out, and how many is told.

        Raises:
            DataError: an unknown split name.
        """
        if split not in SPLITS:
            raise DataError(f"split {split!r}", f"one of {SPLITS}", "name one of them")
        s = self.schema
        mine = [
            i
            for i in range(len(self))
            if split_of(s.task, s.collection, self._places[i][1]["id"]) == split
        ]
        kept = [i for i in mine if self._places[i][1]["length"] >= steps]
        if len(kept) < len(mine):
            notice(
                f"{self.root.name}: {len(mine) - len(kept)} of {len(mine)} {split} episodes last "
                f"less than {steps} control steps and are left out"
            )
        return kept
