"""What the files of a data set may say: schema, records and columns, checked before they are used.

The layout itself is described in :mod:`robot_wm.data.episodes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any

import numpy as np

from robot_wm.core.config import (
    Count,
    Matching,
    Natural,
    NonNegative,
    Positive,
    Within,
    check_fields,
)
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.images import Sides, Size, sides
from robot_wm.core.poses import PoseEntry, entries
from robot_wm.core.storage.json_io import read_json
from robot_wm.core.storage.records import parse_record

DTYPES = {
    "frames": np.uint8, "states": np.float64, "poses": np.float64, "proprio": np.float32,
    "actions": np.float32,
}  # fmt: skip
COLUMNS = tuple(DTYPES)
# What NumPy's parser of headers raises, which hands them to Python's own.
UNREADABLE = (
    OSError, ValueError, EOFError, SyntaxError, TypeError, TokenError, RecursionError, MemoryError,
)  # fmt: skip
Label = Annotated[str, Matching(r"[^\x00-\x1f\x7f]{1,200}", "1 to 200 printable characters")]


@dataclass(frozen=True)
class Schema:
    """What every shard of a data set has in common.

    ``config`` is the full collection configuration; together with the shard index it determines
    every byte of a shard.

    Raises:
        ConfigError: a value of another type or out of its range.
    """

    task: Label
    collection: Label
    image_size: Annotated[Size, Sides(1, 8192)]
    frame_every: Annotated[int, Within(1, 10**6)]
    control_dt: Positive
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    pose_names: tuple[Label, ...]
    state_dim: Annotated[int, Within(0, 10**6)]
    proprio_dim: Annotated[int, Within(0, 10**6)]
    seed: Natural
    episodes_per_shard: Count
    config: dict[str, Any]

    def __post_init__(self) -> None:
        check_fields(self)
        low, high, names = self.control_low, self.control_high, self.pose_names
        if not low or len(low) != len(high) or any(a >= b for a, b in zip(low, high, strict=True)):
            raise ConfigError(
                f"control_low, control_high = {low}, {high}",
                "as many lower as upper bounds, each below its upper one", "correct the bounds",
            )  # fmt: skip
        if len(set(names)) != len(names):
            raise ConfigError(f"pose_names = {names}", "each name once", "correct the names")

    @property
    def pose(self) -> tuple[PoseEntry, ...]:
        """What the numbers of a pose are; ``pose_names`` are their labels."""
        return entries(self.pose_names)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types (tuples become lists)."""
        value = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}

    @staticmethod
    def from_json(value: Any, source: str = "schema") -> Schema:
        """Inverse of :meth:`to_json`.

        Raises:
            DataError: a key missing or unknown, a value of another type or range.
        """
        return parse_record(value, Schema, source)

    def shapes(self, frames: int, rows: int, actions: int) -> dict[str, tuple[int, ...]]:
        """Shapes of columns that hold so many rows."""
        return {
            "frames": (frames, *sides(self.image_size), 3),
            "states": (rows, self.state_dim),
            "poses": (rows, len(self.pose_names)),
            "proprio": (rows, self.proprio_dim),
            "actions": (actions, len(self.control_low)),
        }

    def shapes_of(self, lengths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Shapes of the columns of episodes of so many control steps."""
        frames = sum(length // self.frame_every + 1 for length in lengths)
        return self.shapes(frames, sum(lengths) + len(lengths), sum(lengths))


@dataclass(frozen=True)
class _Told:
    """What a record says of its episode; what else it says is its author's own.

    Attributes:
        id: number, once in a data set; it decides the split.
        length: control steps.
        seed, policy, noise, factors: how it came about.
    """

    id: Natural
    length: Count
    seed: Natural = 0
    policy: str = ""
    noise: NonNegative = 0.0
    factors: dict[str, Any] = field(default_factory=dict)


def check_record(record: Any, source: str) -> dict[str, Any]:
    """A record as it is, once it has been found to be one.

    Raises:
        DataError: no mapping, no id or length, or a value of another type or range.
    """
    if not isinstance(record, dict):
        raise DataError(f"{source}: {record!r}", "a mapping", "delete this shard, collect again")
    known = {key: record[key] for key in _Told.__dataclass_fields__ if key in record}
    parse_record(known, _Told, source, "delete this shard and collect again")
    return record


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a shard.

    Raises:
        DataError: not a list of records, or an empty one.
    """
    found = read_json(path)
    if not isinstance(found, list) or not found:
        raise DataError(
            f"{path} is {type(found).__name__} of {len(found) if found else 0}",
            "a list of one record per episode", "delete this shard and collect again",
        )  # fmt: skip
    return [check_record(record, f"{path}[{i}]") for i, record in enumerate(found)]


Header = tuple[np.dtype, bool, int]


def check_column(path: Path, shape: tuple[int, ...]) -> Header:
    """Type, order and first byte of a column, from its header; nothing else is read.

    Raises:
        DataError: missing, not an array, cut, or of another type or shape.
    """
    dtype, readers = np.dtype(DTYPES[path.stem]), np.lib.format
    try:
        with path.open("rb") as stream:
            version = readers.read_magic(stream)
            read = {(1, 0): readers.read_array_header_1_0, (2, 0): readers.read_array_header_2_0}
            if version not in read:
                raise ValueError(f"version {version} of the format")
            found, turned, kind = read[version](stream)
            start = stream.tell()
            size = stream.seek(0, 2) - start
    except UNREADABLE as error:
        raise DataError(
            f"cannot map {path}: {error}", "a whole column", f"delete {path.parent}, collect again"
        ) from error
    # Whoever wrote floats of another size meant the same.
    fits = kind == dtype or (dtype.kind == "f" and kind in (np.float32, np.float64))
    wanted = math.prod(shape) * kind.itemsize
    if not fits or found != shape or size != wanted:
        raise DataError(
            f"{path} holds {kind} {list(found)} in {size} bytes",
            f"{dtype} {list(shape)} in {wanted} bytes, as dataset.json and episodes.json say",
            f"delete {path.parent} and collect again",
        )
    return kind, turned, start


def map_column(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A column, mapped and read-only.

    Raises:
        DataError: see :func:`check_column`; or a number that is not finite.
    """
    kind, turned, start = check_column(path, shape)
    if 0 in shape:  # a robot's log has no state and no pose; an empty file cannot be memory-mapped
        return np.zeros(shape, kind)
    try:
        rows = np.memmap(path, kind, "r", start, shape, "F" if turned else "C")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot map {path}: {error}", "a whole column", "copy it again") from error
    check_finite(rows, str(path), f"delete {path.parent} and collect again")
    return rows


def check_finite(rows: np.ndarray, source: str, next_step: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        DataError: there is one.
    """
    if rows.dtype.kind != "f":
        return
    for start in range(0, len(rows), 2**16):  # a mask of the whole could be large
        bad = ~np.isfinite(rows[start : start + 2**16])
        if bad.any():
            row = start + int(np.argwhere(bad)[0, 0])
            raise DataError(f"{source}: row {row} is not finite", "finite numbers", next_step)


def joined(episodes: Sequence[Any], schema: Schema | None, source: str) -> dict[str, np.ndarray]:
    """The columns of a shard.

    Args:
        episodes: see :class:`robot_wm.data.episodes.Episode`.
        schema: of the data set; without one episodes need only agree with each other.
        source: for messages.

    Raises:
        DataError: no episode, ragged rows, another number of them than of actions or of another
            size than the schema says, a number that is not finite, or an impossible record.
    """
    if not episodes:
        raise DataError(f"no episode for {source}", "one or more", "record some")
    ids = [episode.id for episode in episodes]
    if len(set(ids)) != len(ids):
        raise DataError(f"episodes {ids} for {source}", "each id once", "number them anew")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    sizes = {n: shape[1:] for n, shape in schema.shapes(0, 0, 0).items()} if schema else {}
    for episode in episodes:
        where = f"episode {episode.id} for {source}"
        rows = {name: _rows(getattr(episode, name), name, where) for name in COLUMNS}
        steps = len(rows["actions"])
        check_record({**episode.meta, "id": episode.id, "length": steps}, where)
        sizes = sizes or {name: found.shape[1:] for name, found in rows.items()}
        frames = steps // schema.frame_every + 1 if schema else len(rows["frames"])
        counts = dict.fromkeys(COLUMNS, steps + 1) | {"actions": steps, "frames": frames}
        for name, found in rows.items():
            if found.shape != (counts[name], *sizes[name]):
                raise DataError(
                    f"{name} {list(found.shape)} of {where}, which has {steps} actions",
                    f"{[counts[name], *sizes[name]]}",
                    "record one row more than actions and a frame at every block boundary",
                )
            check_finite(found, f"{name} of {where}", "leave that episode out")
            parts[name].append(found)
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _rows(value: Any, name: str, where: str) -> np.ndarray:
    """A column of one episode in its type on disk."""
    dimensions = 4 if name == "frames" else 2
    try:
        rows = np.asarray(value)
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused
            rows = rows.astype(DTYPES[name], casting="same_kind", copy=False)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{name} of {where}: {error}", f"an array of {np.dtype(DTYPES[name])}",
            "have every row be of the same size and type",
        ) from error  # fmt: skip
    if rows.ndim != dimensions or not len(rows):
        raise DataError(
            f"{name} {list(rows.shape)} of {where}", f"{dimensions} dimensions and a row or more",
            "have every row be of the same size",
        )  # fmt: skip
    return rows
