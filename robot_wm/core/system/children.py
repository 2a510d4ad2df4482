"""Python processes of our own: what lies in the user's current folder is not imported by them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from robot_wm.core.system.machine import PACKAGE


def environment(**more: str) -> dict[str, str]:
    """The environment for a child that imports installed packages and, from a checkout, ours."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    checkout = PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else None
    # An empty entry would be the current folder.
    path = [str(checkout)] * (checkout is not None) + [entry for entry in given if entry]
    made = {**os.environ, "PYTHONSAFEPATH": "1", **more}
    made.pop("PYTHONPATH", None)
    return {**made, "PYTHONPATH": os.pathsep.join(path)} if path else made


def python(
    arguments: Sequence[str], timeout: float | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end.

    Args:
        arguments: of the interpreter, e.g. ``("-c", code)``.
        timeout: after which it is killed [s].
        more: variables of its environment.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    return subprocess.run(
        [sys.executable, *arguments], env=environment(**more), timeout=timeout, check=False,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
        errors="replace",
    )  # fmt: skip


def last_line(run: subprocess.CompletedProcess[str]) -> str:
    """Why a child failed: the last line that it wrote."""
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit {run.returncode}"
