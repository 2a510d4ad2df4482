"""Names and places that the configuration shares."""

from __future__ import annotations

from robot_wm.core.system.machine import PACKAGE

__all__ = ["CHECKOUT", "MIRRORED", "PACKAGE", "PRACTICE", "SEEDS", "SHIPPED", "is_shipped"]

SHIPPED = "shipped"
SEEDS = {"nominal": 0, "varied": 1}
PRACTICE, MIRRORED = "practice", "-mirrored"  # practice1, practice2, …; nominal-mirrored, …
CHECKOUT = PACKAGE.parent


def is_shipped(name: str) -> bool:
    """Whether weights of this name came with the installation, e.g. ``shipped-contrast``."""
    return name == SHIPPED or name.startswith(f"{SHIPPED}-")
