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
from typing import Annotated, Any, Literal

import numpy as np

from robot_wm.config import Count, Natural, NonNegative, Within, check_fields, convert
from robot_wm.core.records import parse_record, read_record
from robot_wm.errors import ConfigError, DataError
from robot_wm.manifest import (
    atomic_folder,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)
from robot_wm.progress import progress

SCHEMA = "dataset.json"
COLUMNS = ("frames", "states", "poses", "proprio", "actions")
SPLITS = ("train", "validation", "test")
STATES = ("states", "poses", "proprio")
NEXT = "restore the file as it was written, or delete the folder and collect again"
# Types of what a record may say; other keys are the user's own.
RECORD: dict[str, Any] = {
    "id": Natural, "length": Count, "seed": int, "policy": str, "noise": NonNegative,
    "factors": dict[str, Any], "pair": str,
}  # fmt: skip


@dataclass(frozen=True)
class Schema:
    """What every shard of a data set has in common.

    ``config`` is the full collection configuration; together with the shard index it determines
    every byte of a shard.
    """

    task: str
    collection: str
    image_size: Annotated[int, Within(1, 4096)]
    frame_every: Annotated[int, Within(1, 10_000)]
    control_dt: Annotated[float, Within(above=0, high=1000)]
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    pose_names: tuple[str, ...]
    state_dim: Annotated[int, Within(0, 10**6)]
    proprio_dim: Annotated[int, Within(0, 10**6)]
    seed: int
    episodes_per_shard: Natural
    config: dict[str, Any]

    def __post_init__(self) -> None:
        check_fields(self, "schema")
        low, high = self.control_low, self.control_high
        if not (len(low) == len(high) > 0 and (np.asarray(low) < high).all()):
            raise ConfigError(
                f"schema: control bounds from {low} to {high}", "low below high in every entry",
                "correct the bounds",
            )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types (tuples become lists)."""
        value = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Schema:
        """Inverse of :meth:`to_json`.

        Raises:
            DataError: a key missing or unknown, a value of another type or out of its range.
        """
        return parse_record(value, Schema, "schema")


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
    found = read_record(path, Schema, NEXT).to_json()
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
        StorageError: the disk is full, nothing is left behind; or the shard is there already.
        DataError: an episode whose arrays do not fit together, or numbers that are not finite.
    """
    for episode in episodes:
        _check_episode(episode)
    with atomic_folder(shard_path(root, index)) as work:
        for name in COLUMNS:
            rows = np.concatenate([getattr(episode, name) for episode in episodes])
            np.save(work / f"{name}.npy", rows, allow_pickle=False)
        records = [{**e.meta, "id": e.id, "length": len(e)} for e in episodes]
        write_json(work / "episodes.json", records)
        write_manifest(work, "shard", parents={}, facts={"index": index})


def _check_episode(episode: Episode) -> None:
    rows, name = len(episode.actions) + 1, f"episode {episode.id}"
    for column in COLUMNS[1:]:
        array = np.asarray(getattr(episode, column))
        wanted = rows - (column == "actions")
        if array.ndim != 2 or len(array) != wanted or not np.isfinite(array).all():
            raise DataError(
                f"{column} of {name}: shape {array.shape}, "
                f"{int((~np.isfinite(array)).sum())} numbers not finite",
                f"{wanted} rows of finite numbers", "look at where they come from",
            )  # fmt: skip


def _record(value: Any, source: str) -> dict[str, Any]:
    """One episode's record: number and length, and whatever else is known of it."""
    if not isinstance(value, dict) or not {"id", "length"} <= set(value):
        raise DataError(f"{source}: a record {value!r:.80}", "an object with id and length", NEXT)
    try:
        return {k: convert(RECORD.get(k, Any), v, k) for k, v in value.items()}
    except ConfigError as error:
        raise DataError(f"{source}: {error.received}", error.accepted, NEXT) from error


class EpisodeStore:
    """Read access to a data set. Columns are memory-mapped; nothing is copied until used.

    Args:
        root: the data set's folder.
        verify: compare every file's hash, once per process; off where only the identity of the
            data set is asked for.

    Raises:
        DataError: no data set there, or a shard is corrupt or altered.
    """

    def __init__(self, root: Path, verify: bool = True) -> None:
        self.root = Path(root)
        if not (self.root / SCHEMA).is_file():
            raise DataError(
                f"no data set in {self.root}", f"a folder with {SCHEMA}", "run `robot-wm collect`"
            )
        self.schema = read_record(self.root / SCHEMA, Schema, NEXT)
        sizes = (self.schema.state_dim, len(self.schema.pose_names), self.schema.proprio_dim)
        self._empty = {name for name, size in zip(STATES, sizes, strict=True) if not size}
        self._places: list[tuple[int, dict[str, Any], int, int, int]] = []
        self._columns: dict[int, dict[str, np.ndarray]] = {}
        self._digests: list[str] = []
        self._rows: dict[int, dict[str, int]] = {}
        shards = sorted(self.root.glob("shard-*"))
        with progress(f"verify {self.root.name}", len(shards)) as show:
            for done, path in enumerate(shards, start=1):
                self._add(path, verify)
                show(done if done < len(shards) else done - 1, "shards")
        ids = [place[1]["id"] for place in self._places]
        if len(set(ids)) < len(ids):
            raise DataError(f"{self.root} holds an episode twice", "every number once", NEXT)
        if not self._places:
            raise DataError(f"{self.root} has no shards", "one or more", "run `robot-wm collect`")

    def _add(self, path: Path, verify: bool) -> None:
        if not (number := path.name[len("shard-") :]).isdigit():
            raise DataError(f"{path} in a data set", "shard-00000, shard-00001, …", "move it away")
        shard = int(number)
        self._digests.append(read_manifest(path, "shard", verify)["sha256"])
        frame, row, action = 0, 0, 0
        records = read_json(path / "episodes.json")
        if not isinstance(records, list) or not records:
            raise DataError(f"{path / 'episodes.json'} holds no records", "a list of them", NEXT)
        for value in records:
            record = _record(value, str(path / "episodes.json"))
            self._places.append((shard, record, frame, row, action))
            frame += record["length"] // self.schema.frame_every + 1
            row += record["length"] + 1
            action += record["length"]
        self._rows[shard] = {"frames": frame, "actions": action, **dict.fromkeys(STATES, row)}

    def _column(self, shard: int, name: str) -> np.ndarray:
        columns = self._columns.setdefault(shard, {})
        if name not in columns:
            path = shard_path(self.root, shard) / f"{name}.npy"
            # Robots know neither state nor pose, and nothing cannot be mapped.
            mode: Literal["r"] | None = None if name in self._empty else "r"
            try:
                column = np.load(path, mmap_mode=mode, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DataError(
                    f"cannot map {path}: {error}", "a whole column", "delete this shard, collect"
                ) from error
            columns[name] = self._checked(column, shard, name, path)
        return columns[name]

    def _checked(self, column: np.ndarray, shard: int, name: str, path: Path) -> np.ndarray:
        """A column of the type and size that schema and records say."""
        s, rows = self.schema, self._rows[shard][name]
        widths = {
            "frames": (s.image_size, s.image_size, 3), "states": (s.state_dim,),
            "poses": (len(s.pose_names),), "proprio": (s.proprio_dim,),
            "actions": (len(s.control_low),),
        }  # fmt: skip
        kind = "uint8" if name == "frames" else "float32 or float64"
        fits = column.dtype == np.uint8 if name == "frames" else str(column.dtype) in kind
        if not fits or column.shape != (rows, *widths[name]):
            raise DataError(
                f"{path} holds {column.dtype} {list(column.shape)}",
                f"{kind} {[rows, *widths[name]]}, as schema and records say",
                "delete this shard and collect again",
            )
        if name != "frames" and not np.isfinite(column).all():
            raise DataError(
                f"{path} holds numbers that are not finite", "finite numbers",
                "delete this shard and collect again",
            )  # fmt: skip
        return column

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
