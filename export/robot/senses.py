"""What the controller makes of its clock, its camera and the robot's word where it is."""

from __future__ import annotations

from collections import deque

import numpy as np

from export.robot.messages import Fault, Taken, blank
from export.robot.safety_limits import Limits

TICKS = 5  # from which the pace is taken


class Pace:
    """The caller's clock, and the distance of its ticks.

    Attributes:
        elapsed: time that has certainly passed [s]: jumps are left out.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        self._limits, self._period = limits, period
        self.elapsed = 0.0
        self.begin()

    def begin(self) -> None:
        """An episode begins, perhaps on another clock."""
        self._now: float | None = None
        self._last: deque[float] = deque(maxlen=TICKS)

    def fault(self, now: float) -> Fault | None:
        """What is wrong with this tick's time [s]."""
        if not np.isfinite(now):
            return Fault.CLOCK
        before, self._now = self._now, now
        if before is None:
            return None
        periods = (now - before) / self._period
        if not 0 <= periods <= self._limits.jump:
            self._last.clear()
            return Fault.CLOCK
        self.elapsed += now - before
        self._last.append(periods)
        if len(self._last) < TICKS:
            return None
        # One tick that came late, and the early one after it, are no pace.
        mean, most = sum(sorted(self._last)[1:-1]) / (TICKS - 2), self._limits.pace
        return None if 1 / most <= mean <= most else Fault.PACE


class Camera:
    """The frames that are looked at, one a block.

    Attributes:
        seen: the last image that something could be made of.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        self._limits, self._period = limits, period
        self.begin()

    def begin(self) -> None:
        """An episode begins."""
        self.seen: np.ndarray | None = None
        self._stamp = -np.inf  # of that image
        self._equal, self._moved = 0, False

    def moved(self) -> None:
        """The robot was told to move: the next picture should be another."""
        self._moved = True

    def fresh(self, now: float, frame: Taken) -> bool:
        """Whether a frame is neither old nor of the future."""
        return bool(-self._period <= now - frame.stamp <= self._limits.max_frame_age_s)

    def fault(self, now: float, frame: Taken) -> Fault | None:
        """What is wrong with a frame that one would plan from."""
        image = frame.image
        if image is None:
            return Fault.MALFORMED
        if not self.fresh(now, frame):
            return Fault.STALE
        if frame.stamp <= self._stamp:
            return Fault.ORDER
        if blank(image):
            return Fault.BLANK
        if self.seen is None or not np.array_equal(image, self.seen):
            self._equal = 0
        elif self._moved:  # standing still, a living camera may see the same
            self._equal += 1
        self.seen, self._stamp, self._moved = image, frame.stamp, False
        return Fault.FROZEN if self._equal >= self._limits.frozen - 1 else None


class Whereabouts:
    """Between which corners the robot is, if it moves no further than it is told.

    It says where it was when a frame was taken. Since then it may have done all that it was told,
    or part of it.
    """

    def __init__(
        self, reach: float | tuple[float, ...], period: float, stale: float, dim: int
    ) -> None:
        self._period, self._reach, self._stale = period, np.asarray(reach), stale
        self._sent: deque[tuple[float, np.ndarray]] = deque(maxlen=1000)  # when, and how far [m]
        self._low, self._high = np.full(dim, -np.inf), np.full(dim, np.inf)

    def sent(self, elapsed: float, action: np.ndarray) -> None:
        """A command is on its way."""
        move = self._reach * action.astype(np.float64)
        self._sent.append((elapsed, move))
        while self._sent[0][0] + self._period + self._stale < elapsed:
            self._sent.popleft()
        self._low, self._high = self._low + np.minimum(move, 0), self._high + np.maximum(move, 0)

    def corners(
        self, elapsed: float, age: float, position: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest place ``[A]`` of a robot that was here so long ago."""
        here = np.zeros_like(position)
        low, high = here, here
        for when, move in self._sent:
            # Each command is carried out within a period from when it was sent.
            left = (when + self._period - elapsed + max(age, 0.0)) / self._period
            here = here + np.clip(left, 0.0, 1.0) * move
            low, high = np.minimum(low, here), np.maximum(high, here)
        # What was known before holds as well, unless something else has moved the robot.
        low = np.minimum(position, np.maximum(position + low, self._low))
        high = np.maximum(position, np.minimum(position + high, self._high))
        self._low, self._high = low, high
        return low, high
