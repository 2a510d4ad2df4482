"""``robot-wm doctor``: check this machine and say how to mend it."""

from __future__ import annotations

from robot_wm.doctor import check_all, summary


def run() -> int:
    """Print every finding; 1 if something fails."""
    return summary(check_all())
