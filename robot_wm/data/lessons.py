"""The format of lessons: ways that really lead from a state to a goal, with what is left of each.

A store of lessons is a folder::

    lessons.json            what was asked and how, see ``sim.collection.teacher``
    shard-00000/            written in one step, a pure function of (lessons.json, index)
        lessons.json        one record per lesson: kind, rows, how many of them are the past
        states.npy          float64 [R, S]   full physics state at every control step
        actions.npy         float32 [R, C]   control action that leaves each row
        clean.npy           bool    [R]      whether that is what the teacher wanted
        togo.npy            int16   [R]      control steps from here to the goal, along this way
        goals.npy           float64 [L, S]   the goal of each lesson
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robot_wm.core.config import Count, Natural
from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_folder,
    check_same,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)
from robot_wm.core.storage.records import parse_record
from robot_wm.data.shards import shard_path

LESSONS = "lessons.json"
KIND = "lessons"
COLUMNS = ("states", "actions", "clean", "togo", "goals")


class Lesson(NamedTuple):
    """One way to a goal.

    Attributes:
        kind: of the question it answers.
        past: leading rows that lie before the question.
        states, actions, clean, togo: rows, see the module's docstring.
        goal: physics state ``[S]``.
    """

    kind: str
    past: int
    states: np.ndarray
    actions: np.ndarray
    clean: np.ndarray
    togo: np.ndarray
    goal: np.ndarray

    @property
    def steps(self) -> int:
        """Control steps of the whole way."""
        return int(self.togo[self.past])


def open_lessons(root: Path, config: Mapping[str, Any], made_by: type | None = None) -> None:
    """Create ``lessons.json``, or check that the existing one is the same.

    Args:
        made_by: dataclass of the configuration, whose defaults older lessons have.

    Raises:
        DataError: the folder holds lessons made otherwise.
    """
    path = Path(root) / LESSONS
    if not path.is_file():
        write_json(path, dict(config))
        return
    check_same(Path(root), read_json(path), config, "delete that folder", made_by)


def write_lessons(root: Path, index: int, lessons: Sequence[Lesson], questions: int) -> None:
    """Write one shard in one step; ``asked`` questions led to its lessons.

    One that stands there is replaced: another run may have given the same answers meanwhile.
    """
    with atomic_folder(shard_path(root, index), replaces=KIND) as work:
        for name in COLUMNS[:-1]:
            np.save(work / f"{name}.npy", np.concatenate([getattr(x, name) for x in lessons]))
        np.save(work / "goals.npy", np.stack([x.goal for x in lessons]))
        records = [{"kind": x.kind, "past": x.past, "rows": len(x.states)} for x in lessons]
        write_json(work / LESSONS, records)
        write_manifest(work, KIND, {}, {"index": index, "asked": questions})


@dataclass(frozen=True)
class Record:
    """What is told of a lesson: kind of its question, leading rows that are past, all rows."""

    kind: str
    past: Natural
    rows: Count


class LessonStore:
    """Read access to lessons, shard by shard; every file is verified once per process.

    Raises:
        DataError: no lessons there, or altered ones.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        if not (self.root / LESSONS).is_file():
            raise DataError(f"no lessons in {root}", f"a folder with {LESSONS}", "run the teacher")
        self.config = read_json(self.root / LESSONS)
        self.shards = [p for p in sorted(self.root.glob("shard-*")) if (p / MANIFEST).is_file()]
        self._digests = {shard: read_manifest(shard, KIND)["sha256"] for shard in self.shards}

    def sha256(self, shard: Path) -> str:
        """Identity of one shard."""
        return sha256_of([self.config, self._digests[shard]])

    def columns(self, shard: Path) -> dict[str, np.ndarray]:
        """All columns of one shard, memory-mapped.

        Raises:
            DataError: a column missing, or not as long as the records say.
        """
        records, found = self.records(shard), {}
        rows = sum(record.rows for record in records)
        for name in COLUMNS:
            path = shard / f"{name}.npy"
            try:
                found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DataError(
                    f"cannot map {path}: {error}",
                    "a whole column",
                    "delete this shard, teach again",
                ) from error
            if len(found[name]) != (len(records) if name == "goals" else rows):
                raise DataError(
                    f"{path} has {len(found[name])} rows", f"{rows}, or one per lesson",
                    "delete this shard and teach again",
                )  # fmt: skip
        return found

    def records(self, shard: Path) -> list[Record]:
        """One record per lesson.

        Raises:
            DataError: a record that makes no sense.
        """
        path = shard / LESSONS
        records = read_json(path)
        if not isinstance(records, list) or not records:
            raise DataError(f"{path} holds no records", "a list of them", "teach again")
        return [parse_record(value, Record, str(path)) for value in records]
