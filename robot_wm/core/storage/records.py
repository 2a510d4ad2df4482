"""The one strict reader of JSON on disk: every key known, every type and range checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from robot_wm.core.config import build
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.storage.json_io import read_json

T = TypeVar("T")


def read_record(path: Path, cls: type[T], next_step: str = "") -> T:
    """A JSON file as an instance of dataclass ``cls``; see :func:`robot_wm.core.config.build`.

    Args:
        next_step: what to do if it is refused; empty says to rebuild it.

    Raises:
        DataError: missing, not JSON, a key missing or unknown, a value of another type or range.
    """
    return parse_record(read_json(path), cls, str(path), next_step)


def parse_record(value: Any, cls: type[T], source: str, next_step: str = "") -> T:
    """A JSON value as an instance of dataclass ``cls``.

    Raises:
        DataError: see :func:`read_record`.
    """
    try:
        return build(cls, value)
    except ConfigError as error:
        raise DataError(
            f"{source}: {error.received}", error.accepted,
            next_step or "rebuild it with this release, or restore the file as it was written",
        ) from error  # fmt: skip
