"""The log of a run: one JSON line per report, cut back to the step from which a run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robot_wm.core.storage.json_io import append_line, resumed


class Window:
    """Means of whatever numbers arrived since the last flush (not every step has every part)."""

    def __init__(self) -> None:
        self.sums = dict[str, list[float]]()

    def add(self, parts: Mapping[str, float]) -> None:
        """Take one step's numbers."""
        for name, value in parts.items():
            self.sums.setdefault(name, []).append(value)

    def flush(self) -> dict[str, float]:
        """Means by name; start again."""
        means = {name: sum(values) / len(values) for name, values in sorted(self.sums.items())}
        self.sums = {}
        return means


class Log:
    """JSON lines with ``step`` and ``seconds`` since this process began [s].

    Attributes:
        past: lines of the steps that a resumed run has behind it, the oldest first.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.began = Path(path), time.monotonic()
        self.past: list[dict[str, Any]] = []

    def open(self, step: int) -> None:
        """Keep lines up to ``step`` (none of an earlier run when it is 0).

        What a killed run logged after its last checkpoint would otherwise be there twice.

        Raises:
            DataError: a line is damaged, other than the last. StorageError: the disk is full.
        """
        self.past = resumed(self.path, step)

    def write(self, step: int, **values: object) -> None:
        """Append one line.

        Raises:
            StorageError: the disk is full.
        """
        seconds = round(time.monotonic() - self.began, 1)
        append_line(self.path, {"step": step, "seconds": seconds, **values})
