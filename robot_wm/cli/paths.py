"""Names and places that the configuration shares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


SHIPPED = "shipped"


SEEDS = {"nominal": 0, "varied": 1}


PRACTICE, MIRRORED = "practice", "-mirrored"  # practice1, practice2, …; nominal-mirrored, …


PACKAGE = Path(__file__).parents[1]


CHECKOUT = PACKAGE.parent
