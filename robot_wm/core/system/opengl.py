"""Which OpenGL there is to draw with, found out without loading any of it into this process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from robot_wm.core.system.children import last_line, python

SYSTEM = platform.system()
# Without a screen; the first that works is taken.
BACKENDS = {"Darwin": ("cgl",), "Windows": ("glfw",)}.get(SYSTEM, ("egl", "osmesa"))
TIMEOUT = 60  # [s]; a broken driver can hang instead of failing
CODE = (
    "import mujoco; from mujoco.{0} import GLContext; c = GLContext(64, 64); c.make_current();"
    "m = mujoco.MjModel.from_xml_string('<mujoco/>');"
    "mujoco.MjrContext(m, mujoco.mjtFontScale.mjFONTSCALE_100.value)"
)


def wanted() -> tuple[str, ...]:
    """Backends to try: the one that ``$MUJOCO_GL`` names, if we can draw with it, or all."""
    named = os.environ.get("MUJOCO_GL", "").lower().strip()
    return (named,) if named in BACKENDS else BACKENDS


def probe(backend: str) -> str:
    """Try a backend in a process of its own. Returns '' if it works, else the reason."""
    try:
        run = python(
            ("-c", CODE.format(backend)), TIMEOUT, PYOPENGL_PLATFORM=backend, MUJOCO_GL=backend
        )
    except subprocess.TimeoutExpired:
        return f"hung for {TIMEOUT} s"
    except OSError as error:
        return f"no process starts: {error}"
    return "" if run.returncode == 0 else last_line(run)


@contextmanager
def unnamed() -> Iterator[None]:
    """Hide ``$MUJOCO_GL`` from an import that it would end.

    A backend that we could draw with is named again afterwards: the search says why it fails.
    Another one is forgotten with a line of notice, so that neither this process nor its children
    meet it again.
    """
    named = os.environ.pop("MUJOCO_GL", "")
    try:
        yield
    finally:
        if named.lower().strip() in BACKENDS:
            os.environ["MUJOCO_GL"] = named
        elif named and sys.stderr is not None:
            choice = ", then ".join(BACKENDS)
            print(f"MUJOCO_GL={named} is of no use here: trying {choice}", file=sys.stderr)
