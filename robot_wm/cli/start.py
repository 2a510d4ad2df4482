"""What a command makes sure of before anything else: streams, and whose modules it imports."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from robot_wm.core.errors import ConfigError
from robot_wm.core.system.machine import PACKAGE

ROOMS = ("sim", "planning", "export", "configs")


def mend_streams() -> None:
    """Let no output end a command: streams that are closed, or cannot spell what we say."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def tell(text: str) -> None:
    """A line for people on stderr, if somebody still reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"robot-wm: {text}", file=sys.stderr, flush=True)


def silence() -> None:
    """Nobody reads stdout any more: what is still buffered must not fail at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave_current_folder() -> None:
    """Import nothing that happens to lie in the user's current folder, here or in a child.

    ``python -m`` puts that folder first on the path; a ``json.py`` in it would be executed.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return
    given = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    wanted = {PACKAGE.parent.resolve(), *(Path(entry).resolve() for entry in given)}
    first = Path(sys.path[0] or here).resolve() if sys.path else None
    if first == here.resolve() and first not in wanted:
        del sys.path[0]


def check_rooms() -> None:
    """Refuse to start where another folder would be imported in place of one of ours.

    Raises:
        ConfigError: the folder or file that is in the way.
    """
    for room in ROOMS:
        ours = PACKAGE.parent / room
        found = _location(room)
        if found is None or found.resolve() != ours.resolve():
            raise ConfigError(
                f"`import {room}` finds {found or 'nothing'}", f"the project's own {ours}",
                "rename it, take its folder off PYTHONPATH, or run from another folder"
                if found else "install the project again",
            )  # fmt: skip


def _location(room: str) -> Path | None:
    """Folder of the package that an import would find; a file if it is a single module."""
    try:
        spec = find_spec(room)
    except ValueError:  # a module without a specification
        path = getattr(sys.modules[room], "__file__", None)
        return Path(path) if path else None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec.origin else None
