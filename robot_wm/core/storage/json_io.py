"""JSON of the standard, hashes of values, logs of one object a line."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from robot_wm.core.errors import DataError
from robot_wm.core.storage.atomic_io import atomic_write
from robot_wm.core.storage.locks import disk_errors


def canonical_json(value: Any) -> str:
    """The same text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hash of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_json(target: Path, value: Any) -> None:
    """Write readable JSON in one step."""
    atomic_write(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def parse_json(text: str) -> Any:
    """JSON of the standard: no NaN, no infinity.

    Raises:
        ValueError: anything else, too deeply nested text included.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing, not UTF-8 or not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {error}", "a JSON file", "re-run the stage that makes it"
        ) from error


def write_lines(target: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in one step, one JSON object a line, keys sorted.

    Raises:
        StorageError: the disk is full or not writable; the old file stays.
    """
    lines = (json.dumps(dict(row), sort_keys=True, allow_nan=False) + "\n" for row in rows)
    atomic_write(target, "".join(lines))


def append_line(path: Path, value: Any) -> None:
    """Add one JSON value as a line to a log.

    Raises:
        StorageError: the disk is full or not writable.
    """
    line = json.dumps(value, allow_nan=False) + "\n"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line)


def read_lines(path: Path, whole: bool = False) -> list[dict[str, Any]]:
    """The records of a log, one JSON object a line; a last line that was cut is left out.

    A power loss or a full disk cuts the end of a log, and only that: damage elsewhere is told.

    Args:
        path: the file.
        whole: for files that are written in one step: the last line must be good as well.

    Raises:
        DataError: the file cannot be read, or a line (before the last) is no JSON object.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}", "a log", "delete it") from error
    records: list[dict[str, Any]] = []
    last = max((i for i, line in enumerate(lines) if line.strip(b" \r\0")), default=-1)
    for number, line in enumerate(lines):
        text = line.strip(b" \r\0")
        if not text:
            continue
        try:
            record = parse_json(text.decode("utf-8"))
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if number == last and not whole:
                break
            raise DataError(
                f"line {number + 1} of {path}: {error}", "one JSON object per line",
                "restore the file, or delete the line",
            ) from error  # fmt: skip
        records.append(record)
    return records


def resumed(path: Path, step: int) -> list[dict[str, Any]]:
    """Cut a log back to what a run had logged when it reached ``step``, and return that.

    Raises:
        DataError: a line of the log is damaged, other than the last.
        StorageError: the disk is full.
    """
    records = [r for r in read_lines(path) if _until(r, step)] if step and path.is_file() else []
    atomic_write(path, "".join(json.dumps(record) + "\n" for record in records))
    return records


def _until(record: dict[str, Any], step: int) -> bool:
    reached = record.get("step")
    return isinstance(reached, int | float) and reached <= step
