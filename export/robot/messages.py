"""What goes in and out of the controller: frames, commands, faults."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from robot_wm.core.images import Size, sides

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
    """A camera image uint8 ``[height, width, 3]``, and when it was taken on the controller's clock.

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


@dataclass(frozen=True)
class Taken:
    """What a frame said, as our own: the driver may use its buffer again.

    Attributes:
        image: uint8 ``[height, width, 3]``, or None for whatever else came.
        stamp: when it was taken [s], or NaN.
        position: float64 ``[A]``, or None.
    """

    image: np.ndarray | None
    stamp: float
    position: np.ndarray | None


def taken(frame: Any, size: Size, dim: int) -> Taken:
    """A copy of what can be used of a frame."""
    image, own = _of(frame, "image"), None
    is_array = isinstance(image, np.ndarray)
    if is_array and image.shape == (*sides(size), 3) and image.dtype == np.uint8:
        own = np.array(image, order="C")
    return Taken(own, number(_of(frame, "stamp")), numbers(_of(frame, "position"), (dim,)))


def _of(frame: Any, name: str) -> Any:
    with contextlib.suppress(Exception):  # whatever a driver's own attributes raise
        return getattr(frame, name)
    return None


def number(value: Any) -> float:
    """A real number, or NaN for whatever else came; text is no number."""
    with contextlib.suppress(Exception):  # whatever its own methods raise
        return float("nan") if isinstance(value, str | bytes | bytearray) else float(value)
    return float("nan")


def numbers(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """A copy of finite real numbers of this shape, float64, or None for whatever else came."""
    with contextlib.suppress(Exception):  # whatever an array's own methods raise
        array = np.array(value)
        if array.dtype.kind in "fiu" and array.shape == shape and np.isfinite(array).all():
            return array.astype(np.float64)
    return None


def blank(image: np.ndarray) -> bool:
    """Whether a picture shows nothing."""
    return int(image.max()) - int(image.min()) < CONTRAST


def logged(work: Callable[[], None]) -> list[Fault]:
    """What comes of logging: whatever goes wrong must not keep the robot from its goal."""
    try:
        work()
    except Exception:  # a full disk above all
        return [Fault.LOG]
    return []
