"""What a success predicate measures, so that people can see how far from a goal an episode ended.

The predicate itself stays the judge: it may also ask how long its criteria hold, or for a detour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Criterion:
    """One number that must come below a limit.

    Attributes:
        name: what is measured, in words.
        unit: of ``limit`` and of the error: metres or radians.
        limit: the goal is met below it.
        error: from poses ``[..., K]`` and the goal's pose ``[K]`` to errors ``[...]``, 0 or more.
    """

    name: str
    unit: Literal["m", "rad"]
    limit: float
    error: Callable[[np.ndarray, np.ndarray], np.ndarray]
