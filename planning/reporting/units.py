"""Numbers as people read them: millimetres and degrees."""

from __future__ import annotations

import math

# SI unit -> what is shown, and how many of it one SI unit is
SHOWN = {"m": ("mm", 1000.0), "rad": ("°", 180 / math.pi)}


def shown(unit: str) -> str:
    """The unit in which quantities of an SI unit are shown."""
    return SHOWN.get(unit, (unit, 1.0))[0]


def scaled(value: float, unit: str) -> float:
    """A value of an SI unit in the unit in which it is shown."""
    return float(value) * SHOWN.get(unit, (unit, 1.0))[1]


def text(value: float, unit: str) -> str:
    """A value of an SI unit with what it is shown in: ``9.3 mm``, ``14.6°``, ``0.107``."""
    if unit not in SHOWN:
        return f"{value:.3g} {unit}".rstrip()
    return f"{scaled(value, unit):.1f}" + ("" if shown(unit) == "°" else " ") + shown(unit)
