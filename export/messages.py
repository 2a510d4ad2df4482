"""What goes in and out of the controller: frames, commands, faults."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

CONTRAST = 4  # grey levels between the darkest and the brightest value of a picture of something


class Fault(StrEnum):
    """Why a step was not the planner's."""

    NO_FRAME = "no frame"
    STALE = "stale frame"
    ORDER = "frame not newer than the last"
    MALFORMED = "malformed frame"
    BLANK = "blank frame"
    FROZEN = "frozen camera"
    CLOCK = "clock jump"
    PACE = "ticks too far apart or too close"
    LATE = "late plan"
    PLANNER = "planner failed"
    NOVEL = "unknown scene"
    LOST = "position unknown"
    STARTING = "goal being set"
    LOG = "log not written"


# Told and counted, but no plan went wrong.
HARMLESS = frozenset({Fault.STARTING, Fault.LOG})


@dataclass(frozen=True)
class Frame:
    """A camera image uint8 ``[S, S, 3]`` and when it was taken [s], on the controller's clock.

    Attributes:
        position: of the robot when it was taken [m]; needed where there is a workspace.
    """

    image: np.ndarray
    stamp: float
    position: np.ndarray | None = None


@dataclass(frozen=True)
class Command:
    """What to send: the action, what went wrong since the last one, and whether it is stopped."""

    action: np.ndarray
    faults: tuple[Fault, ...] = ()
    stopped: bool = False


def number(value: Any) -> float:
    """A real number, or NaN for whatever else came."""
    with contextlib.suppress(Exception):  # whatever its own methods raise
        return float(value)
    return float("nan")


def copied(value: Any) -> np.ndarray | None:
    """An array of our own, or None for what is none: the driver may use its buffer again."""
    with contextlib.suppress(Exception):  # whatever an array's own methods raise
        return np.array(value)
    return None


def blank(image: np.ndarray) -> bool:
    """Whether a picture shows nothing."""
    return int(image.max()) - int(image.min()) < CONTRAST
