"""Files of measured rows, one JSON object a line, of which a dataclass says what each must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from robot_wm.core.aliases import current
from robot_wm.core.storage.json_io import read_lines, write_lines
from robot_wm.core.storage.locks import queue
from robot_wm.core.storage.records import parse_record

Row = dict[str, Any]


def read_measured(path: Path, known: type) -> list[Row]:
    """All rows of one file, with today's names (:mod:`robot_wm.core.aliases`).

    Args:
        known: dataclass of what every row must have; further keys are let through.

    Raises:
        DataError: unreadable, or a line that is not a row.
    """
    rows = [current("row", row) for row in read_lines(path, whole=True)]
    names = [field.name for field in fields(known)]
    for number, row in enumerate(rows, start=1):
        told = {name: row[name] for name in names if name in row}
        parse_record(told, known, f"row {number} of {path}", "restore the committed file")
    return rows


def identity_of(row: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    """What makes a row the same one when it is measured again."""
    return tuple(row.get(key) for key in keys)


def add_measured(path: Path, rows: Sequence[Row], known: type, keys: Sequence[str]) -> None:
    """Add rows; the same ones (:func:`identity_of`) measured again replace theirs."""
    fresh = {identity_of(row, keys) for row in rows}
    with queue(path):
        before = read_measured(path, known) if path.exists() else []
        write_lines(path, [*(r for r in before if identity_of(r, keys) not in fresh), *rows])
