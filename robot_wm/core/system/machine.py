"""What machine this is: cores, processor, commit of the source tree."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2]


def usable_cores() -> int:
    """Cores this process may use; all of them where the system cannot tell."""
    if hasattr(os, "sched_getaffinity"):  # Linux alone
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int) -> None:
    """Let this process compute with ``count`` threads: torch, imported already or later on.

    Called where a process begins, by the command line and by each worker, and nowhere else:
    loading a model or training one changes nothing of the process.
    """
    os.environ["OMP_NUM_THREADS"] = str(count)  # what torch reads when it is imported
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)


def matmul_gflops(matrix: Any) -> float:
    """Speed of one product of a square float32 matrix with itself [GFLOP/s].

    Args:
        matrix: ``[S, S]``, of the library whose speed is asked for, e.g. of NumPy or torch.
    """
    start = time.perf_counter()
    _ = matrix @ matrix
    return 2e-9 * len(matrix) ** 3 / (time.perf_counter() - start)


@cache
def hardware() -> str:
    """Processor name and number of usable cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {usable_cores()} cores"


@cache
def git_commit() -> str:
    """Commit of our source tree, with ``+dirty`` when files differ; ``unknown`` outside it.

    Asked once: what a process runs is what it has loaded.

    An installed copy inside somebody else's repository is not that repository: git must know this
    very file.
    """

    def git(*words: str) -> str:
        run = subprocess.run(
            ["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        return run.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", str(Path(__file__).relative_to(PACKAGE)))
        if Path(git("rev-parse", "--show-toplevel")).resolve() != PACKAGE.parent.resolve():
            return "unknown"
        dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance() -> dict[str, str]:
    """Commit, hardware, Python and date: who made this, where, when."""
    return {
        "commit": git_commit(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "os": platform.system(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
