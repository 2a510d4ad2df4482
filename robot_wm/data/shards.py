"""Folders of shards: filled in any order by any number of workers, gone on with after a kill.

A shard is a folder that is written in one step and is a pure function of what the folder around it
says and of its own number. So a killed run leaves whole shards and, at worst, a hidden temporary
folder; the next one fills the gaps and ends with the bytes of an uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_wm.core.parallel import spread
from robot_wm.core.storage.atomic_io import sweep
from robot_wm.core.storage.locks import lock
from robot_wm.core.system.progress import progress


def shard_path(root: Path, index: int) -> Path:
    """Folder of shard ``index``."""
    return root / f"shard-{index:05d}"


def is_whole(root: Path, index: int) -> bool:
    """Whether a shard has been written: one that is there is whole."""
    path = shard_path(root, index)
    return path.is_dir() and any(path.iterdir())


def fill(
    root: Path,
    shards: Iterable[int],
    write: Callable[[int], Any],
    work: str,
    workers: int = 1,
    begin: Callable[[], Any] | None = None,
) -> None:
    """Have every shard written that is not there yet; one process at a time fills a folder.

    Args:
        root: the folder; made if it is missing.
        shards: numbers of all shards that are to be there.
        write: writes the shard of a number in one step. With several workers it is sent once to
            each, and should open there what it needs, at its first shard.
        work: what is going on, for the progress and for whoever comes meanwhile: ``collecting``.
        workers: how many; they do not influence a byte.
        begin: called as soon as the folder is ours, e.g. to refuse another configuration's shards.

    Raises:
        StorageError: another process is at it, or the disk is full.
        RobotWMError: whatever ``begin`` or ``write`` raised, or a worker was lost. Whole shards
            stay, and nothing half-written does.
    """
    with lock(root, f"{work} into"):
        if begin is not None:
            begin()
        numbers = list(shards)
        missing = [index for index in numbers if not is_whole(root, index)]
        there = len(numbers) - len(missing)
        sweep(root)
        try:
            with (
                progress(f"{work} {root.name}", len(numbers)) as show,
                closing(spread(_Nth(write, missing), len(missing), workers)) as written,
            ):
                for count, _ in enumerate(written, start=there + 1):
                    show(count, "shards")
        finally:
            sweep(root)  # what workers had begun when one of them failed


@dataclass
class _Nth:
    """Writes the missing shards by their place in the list."""

    write: Callable[[int], Any]
    missing: list[int]

    def __call__(self, job: int) -> None:
        self.write(self.missing[job])
