"""What trainings, pair lists and probes need of recorded episodes, whatever their format.

A data set is a folder with a ``dataset.json``. Its key ``format`` names who can read it (without
one: ``native``); what else it says is that format's own matter. Another format is a subclass of
:class:`EpisodeReader`, found through the entry points of ``robot_wm.data_formats``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from robot_wm.core.errors import DataError
from robot_wm.core.registry import Registry
from robot_wm.core.specs import ModelSpec
from robot_wm.core.storage.json_io import read_json
from robot_wm.core.system.progress import notice
from robot_wm.data.episode_files import Schema, joined
from robot_wm.data.episodes import SPLITS, Episode, split_of

SCHEMA, NATIVE = "dataset.json", "native"
FORMATS = Registry("robot_wm.data_formats", {NATIVE: "robot_wm.data.formats.native:EpisodeStore"})


class EpisodeReader(ABC):
    """Read access to the episodes of a data set, by position.

    Args:
        root: the data set's folder; its name stands for it in messages and manifests.
        schema: what all episodes have in common. Its task and collection decide, with an episode's
            id, which split the episode falls into.
    """

    def __init__(self, root: Path, schema: Schema) -> None:
        self.root, self.schema = Path(root), schema

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Identity of the data set: another one as soon as anything in it differs."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of episodes."""

    @abstractmethod
    def meta(self, index: int) -> dict[str, Any]:
        """What is known of an episode without its columns.

        ``id`` (once in a data set) and ``length`` in control steps must be there; ``policy``,
        ``noise``, ``seed`` and ``factors`` say how it came about.
        """

    @abstractmethod
    def read(self, index: int) -> Episode:
        """An episode as the files have it; it is checked against the schema afterwards."""

    def __getitem__(self, index: int) -> Episode:
        """The episode at a position, in the types of the schema.

        Raises:
            DataError: rows of another number, size or type than the schema says, or not finite.
        """
        episode = self.read(index)
        columns: dict[str, Any] = joined([episode], self.schema, str(self.root))
        return replace(episode, **columns)

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def shards(self) -> dict[int, list[int]]:
        """Positions of the episodes by the unit in which work on them is done and kept."""
        per, found = self.schema.episodes_per_shard, dict[int, list[int]]()
        for i in range(len(self)):
            found.setdefault(i // per, []).append(i)
        return found

    def frames_of(self, index: int) -> int:
        """Frames of an episode, without touching its columns."""
        return int(self.meta(index)["length"]) // self.schema.frame_every + 1

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
        s, records = self.schema, [self.meta(i) for i in range(len(self))]
        inside = [
            i for i, r in enumerate(records) if split_of(s.task, s.collection, r["id"]) == split
        ]
        long_enough = [i for i in inside if records[i]["length"] >= steps]
        if len(long_enough) < len(inside):
            notice(
                f"{self.root.name}: {len(inside) - len(long_enough)} of {len(inside)} {split} "
                f"episodes last less than {steps} control steps and are left out"
            )
        return long_enough


class DataFormat(Protocol):
    """What is registered: opens the data set of a folder, usually the reader's class."""

    def __call__(self, root: Path, verify: bool = True) -> EpisodeReader:
        """Open ``root``.

        Args:
            root: a folder whose ``dataset.json`` names this format.
            verify: see :func:`open_episodes`.

        Raises:
            DataError: something missing, altered or impossible.
        """
        ...


def is_dataset(root: Path) -> bool:
    """Whether a folder holds a data set of any format."""
    return (Path(root) / SCHEMA).is_file()


def format_of(root: Path) -> str:
    """Name of the format of a data set.

    Raises:
        DataError: no data set there, or one that names no format that is installed.
    """
    path = Path(root) / SCHEMA
    if not path.is_file():
        raise DataError(
            f"no data set in {root}", f"a folder with {SCHEMA}", "run `robot-wm collect`"
        )
    schema = read_json(path)
    name = schema.get("format", NATIVE) if isinstance(schema, dict) else NATIVE
    if not isinstance(name, str) or name not in FORMATS:
        raise DataError(
            f"{path} is of the format {name!r}", ", ".join(FORMATS),
            "correct its `format`, or install the package that reads it",
        )  # fmt: skip
    return name


def open_episodes(root: Path, verify: bool = True) -> EpisodeReader:
    """The episodes of a folder, by the format it names.

    Args:
        root: the data set's folder.
        verify: have everything checked that is read; off where only the identity is asked for.

    Raises:
        DataError: no data set there, of an unknown format, or a corrupt one.
    """
    opened: EpisodeReader = FORMATS[format_of(root)](Path(root), verify)
    return opened


def open_stores(task: str, datasets: Sequence[Path]) -> list[EpisodeReader]:
    """Data sets in the given order; all must describe the same robot.

    Raises:
        DataError: none, or one of another task or robot.
    """
    if not datasets:
        raise DataError("no data set", "one or more", "name the folders to learn from")
    stores = [open_episodes(path) for path in datasets]
    keys = ("task", "image_size", "frame_every", "control_dt", "control_low", "control_high")
    wanted = {key: getattr(stores[0].schema, key) for key in keys} | {"task": task}
    for store in stores:
        found = {key: getattr(store.schema, key) for key in keys}
        if differ := [key for key in keys if found[key] != wanted[key]]:
            raise DataError(
                f"{store.root} has {', '.join(f'{k} {found[k]}' for k in differ)}",
                ", ".join(f"{k} {wanted[k]}" for k in differ),
                "train each task and robot on its own",
            )
    return stores


def spec_of(
    store: EpisodeReader, context: int, horizon: int, bytes_per_candidate: int = 0
) -> ModelSpec:
    """What a planner must know of a model that was trained on these episodes, block by block."""
    schema = store.schema
    return ModelSpec(
        task=schema.task,
        action_low=schema.control_low * schema.frame_every,
        action_high=schema.control_high * schema.frame_every,
        control_dim=len(schema.control_low),
        control_dt=schema.control_dt,
        context=context,
        horizon=horizon,
        image_size=schema.image_size,
        bytes_per_candidate=bytes_per_candidate,
    )
