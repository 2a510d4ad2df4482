"""Memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def memory_mb() -> tuple[float, float]:
    """What is in RAM now, and the most that ever was [MiB].

    Not ``getrusage``, where Linux hands a process the peak of the one that started it; that is for
    systems without /proc, where both numbers are the peak.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        return peak, peak
    found = dict(line.split(":", 1) for line in lines)
    now, most = (int(found[key].split()[0]) / 2**10 for key in ("VmRSS", "VmHWM"))
    return now, most
