"""The house's own data format: append-only shards of raw, memory-mapped columns.

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

Rows and frames of an episode are those of :class:`robot_wm.data.episodes.Episode`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.storage.json_io import (
    canonical_json,
    parse_json,
    read_json,
    sha256_of,
    write_json,
)
from robot_wm.core.storage.provenance import atomic_folder, read_manifest, write_manifest
from robot_wm.core.system.progress import progress
from robot_wm.data.episode_files import (
    COLUMNS,
    check_column,
    joined,
    map_column,
    read_records,
)
from robot_wm.data.episodes import Episode, Schema
from robot_wm.data.formats.base import NATIVE, SCHEMA, EpisodeReader
from robot_wm.data.shards import shard_path

MANY = 100  # shards, from which on checking them takes long enough to say so


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
    differences = []
    for key in sorted(found.keys() | wanted.keys()):
        old, new = found.get(key), wanted.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            differences.append(f"{key}: {_differences(old, new)}")
        else:
            differences.append(f"{key} {old!r}, not {new!r}")
    return ", ".join(differences)


def write_shard(root: Path, index: int, episodes: Sequence[Episode]) -> None:
    """Write one shard in one step.

    Raises:
        DataError: ragged, not finite, or unlike the schema of the data set in ``root``.
        StorageError: the disk is full; nothing is left behind.
    """
    target, schema_file = shard_path(root, index), root / SCHEMA
    schema = (
        Schema.from_json(read_json(schema_file), str(schema_file))
        if schema_file.is_file()
        else None
    )
    columns = joined(episodes, schema, str(target))
    with atomic_folder(target) as work:
        for name, rows in columns.items():
            np.save(work / f"{name}.npy", rows, allow_pickle=False)
        records = [{**e.meta, "id": e.id, "length": len(e)} for e in episodes]
        write_json(work / "episodes.json", records)
        write_manifest(work, "shard", parents={}, facts={"index": index})


class EpisodeStore(EpisodeReader):
    """Read access to such a folder. Columns are memory-mapped; nothing is copied until used.

    Args:
        root: the data set's folder.
        verify: hash every file, once per process, and compare every column with schema and
            records; off where only the identity of the data set is asked for.

    Raises:
        DataError: no data set there, or a shard is corrupt.
    """

    def __init__(self, root: Path, verify: bool = True) -> None:
        root = Path(root)
        if not (root / SCHEMA).is_file():
            raise DataError(
                f"no data set in {root}", f"a folder with {SCHEMA}", "run `robot-wm collect`"
            )
        values = read_json(root / SCHEMA)
        if isinstance(values, dict) and values.get("format") == NATIVE:  # need not be said
            del values["format"]
        super().__init__(root, Schema.from_json(values, str(root / SCHEMA)))
        self._stored_schema = values  # as it was written: its hash is the data set's
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
        return sha256_of({"schema": self._stored_schema, "shards": self._digests})

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._places)

    def __getitem__(self, index: int) -> Episode:
        return self.read(index)  # columns are checked once, when they are mapped

    def read(self, index: int) -> Episode:
        """An episode as views into the mapped columns."""
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

    def meta(self, index: int) -> dict[str, Any]:
        """The record of an episode without touching its columns."""
        return self._places[index][1]

    def shards(self) -> dict[int, list[int]]:
        """Positions of the episodes of every shard, by its number."""
        found: dict[int, list[int]] = {}
        for i, (shard, *_) in enumerate(self._places):
            found.setdefault(shard, []).append(i)
        return found
