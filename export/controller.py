"""The last hand before the motors: fixed rate, limits, and a reason for every step not planned.

No transport and no clock of its own: whoever owns the robot calls :meth:`Controller.tick` once per
control period with the time and the newest camera frame, and sends what comes back. Whatever the
camera or the planner do, the action is finite, within its bounds, and no further from the last one
than the rate limit allows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from export.limits import Limits, Workspace
from export.record import RobotLog
from planning.mpc import MPCAgent
from robot_wm.errors import ConfigError, RobotWMError

__all__ = ["Command", "Controller", "Fault", "Frame", "Limits", "Workspace"]


class Fault(StrEnum):
    """Why a step was not the planner's."""

    NO_FRAME = "no frame"
    STALE = "stale frame"
    MALFORMED = "malformed frame"
    BLANK = "blank frame"
    FROZEN = "frozen camera"
    CLOCK = "clock jump"
    LATE = "late plan"
    PLANNER = "planner failed"
    NOVEL = "unknown scene"
    LOST = "position unknown"


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


@dataclass
class Controller:
    """Drives an agent at a fixed rate and never moves unsafely.

    Args:
        agent: plans from images; ``agent.model.spec`` tells bounds and period.
        limits: see :class:`Limits`.
        clock: seconds, only to time the planner.
        log: keeps what was seen and done, if given; end it after the last step.

    Attributes:
        faults: how often each fault was seen since construction.
        ticks: control steps since construction.
    """

    agent: MPCAgent
    limits: Limits
    clock: Callable[[], float] = time.perf_counter
    log: RobotLog | None = None
    faults: Counter[Fault] = field(default_factory=Counter)
    ticks: int = 0

    def __post_init__(self) -> None:
        spec = self.agent.model.spec
        dim = spec.control_dim
        self._low = np.asarray(spec.action_low[:dim], np.float32)
        self._high = np.asarray(spec.action_high[:dim], np.float32)
        self._hold = np.asarray(self.limits.hold, np.float32)
        if self._hold.shape != (dim,) or not self._inside(self._hold):
            raise ConfigError(
                f"hold action {self.limits.hold}", f"{dim} numbers within the bounds", "correct it"
            )
        space = self.limits.workspace
        if space is not None and len(space.low) != dim:
            raise ConfigError(
                f"a workspace of {len(space.low)} entries", f"{dim}, one for each of the action's",
                "correct it",
            )  # fmt: skip
        self._period, self._block = spec.control_dt, spec.block
        self._size = spec.image_size
        # Models from a bundle can tell what they have never seen; others are believed.
        self._is_novel = getattr(self.agent.model, "is_novel", None)
        self._started = False

    def start(self, goal: np.ndarray, seed: int = 0, via: Sequence[np.ndarray] = ()) -> None:
        """Begin an episode towards a goal; clears a stop.

        Args:
            goal: image uint8 ``[S, S, 3]``, or several that will do ``[K, S, S, 3]``.
            seed: of the planner.
            via: images to pass on the way, in this order.

        Raises:
            InputError: an image of another size or dtype.
        """
        if self.log is not None:
            self.log.end()
        self._seed, self._started = seed, False
        told: dict[str, Any] = {"image": goal, "via": via}
        self.agent.reset(told, seed)
        self._started = True
        self._last = self._hold.copy()
        self._now: float | None = None
        self._phase, self._failed, self._equal = 0, 0, 0
        self._seen: np.ndarray | None = None
        self._planned = False
        self._thought: Fault | None = None
        self.stopped = False

    def think(self) -> None:
        """Plan between two control steps, if the agent can (:class:`planning.clock.ClockAgent`).

        Call it once the action of a tick is sent. What goes wrong is reported by the next tick.
        """
        think = getattr(self.agent, "think", None)
        if think is None or not self._started or self.stopped:
            return
        began = self.clock()
        try:
            think()
        except (RobotWMError, ArithmeticError, ValueError):
            self._thought = Fault.PLANNER
            return
        if self.clock() - began > self.limits.late:
            self._thought = Fault.LATE

    def tick(self, now: float, frame: Frame | None) -> Command:
        """One control step.

        Args:
            now: the caller's clock [s].
            frame: newest camera frame; looked at once per block.

        Raises:
            ConfigError: before :meth:`start`.
        """
        if not self._started:
            raise ConfigError("tick() before start()", "an episode with a goal", "call start first")
        faults: list[Fault] = []
        if jumped := self._jumped(now):
            faults.append(Fault.CLOCK)
        if self._thought is not None:
            faults.append(self._thought)
            self._thought = None
        position = self._position(now, frame)
        if self.limits.workspace is not None and position is None:
            faults.append(Fault.LOST)
        if self._phase == 0:
            fault = None if jumped else self._look(now, frame)
            faults += [] if fault is None else [fault]
            self._planned = not faults and not self.stopped
        self._planned = self._planned and not faults
        wanted = self._hold
        if self._planned and not self.stopped:
            wanted, fault = self._ask(frame)
            faults += [] if fault is None else [fault]
            self._planned = fault is None
        self._account(faults)
        self._phase = (self._phase + 1) % self._block
        self.ticks += 1
        self.faults.update(faults)
        self._last = self._limit(wanted, position)
        if self.log is not None:
            self.log.tick(None if frame is None else frame.image, self._last)
        return Command(self._last.copy(), tuple(faults), self.stopped)

    def _jumped(self, now: float) -> bool:
        if not np.isfinite(now):
            return True
        before, self._now = self._now, now
        return before is not None and abs(now - before) > self.limits.jump * self._period

    def _look(self, now: float, frame: Frame | None) -> Fault | None:
        """Whether this frame can be planned from."""
        if frame is None:
            return Fault.NO_FRAME
        image = np.asarray(frame.image)
        if image.shape != (self._size, self._size, 3) or image.dtype != np.uint8:
            return Fault.MALFORMED
        if not self._fresh(now, frame):
            return Fault.STALE
        if int(image.max()) - int(image.min()) < 4:
            return Fault.BLANK
        moving = bool(np.abs(self._last - self._hold).max() > 0.05)
        same = self._seen is not None and bool((image == self._seen).all())
        self._equal = self._equal + 1 if same and moving else 0
        self._seen = image.copy()
        if self._equal >= self.limits.frozen - 1:
            return Fault.FROZEN
        return Fault.NOVEL if self._is_novel is not None and self._is_novel(self._seen) else None

    def _ask(self, frame: Frame | None) -> tuple[np.ndarray, Fault | None]:
        """The agent's action, or what is wrong with it."""
        began = self.clock()
        try:
            obs: dict[str, Any] = {"image": self._seen if frame is None else frame.image}
            action = np.asarray(self.agent.act(obs), np.float32)
        except (RobotWMError, ArithmeticError, ValueError):
            return self._hold, Fault.PLANNER
        if action.shape != self._hold.shape or not np.isfinite(action).all():
            return self._hold, Fault.PLANNER
        late = self.clock() - began > self.limits.late
        return (self._hold, Fault.LATE) if late else (action, None)

    def _account(self, faults: list[Fault]) -> None:
        """Hold for the rest of a faulty block, then plan afresh; stop after too many in a row."""
        if faults:
            self._failed, self._planned = self._failed + 1, False
            # What was executed is no longer what was planned: the agent's history is void.
            self.agent.restart(self._seed)
            self.stopped = self.stopped or self._failed >= self.limits.patience
        elif self._phase == 0:
            self._failed = 0

    def _inside(self, action: np.ndarray) -> bool:
        return bool((action >= self._low).all() and (action <= self._high).all())

    def _fresh(self, now: float, frame: Frame) -> bool:
        return bool(-self._period <= now - frame.stamp <= self.limits.stale)

    def _position(self, now: float, frame: Frame | None) -> np.ndarray | None:
        """Where the robot is, if the frame says so and is not old."""
        if frame is None or frame.position is None or not self._fresh(now, frame):
            return None
        position = np.asarray(frame.position, np.float64)
        known = position.shape == self._hold.shape and np.isfinite(position).all()
        return position if known else None

    def _limit(self, wanted: np.ndarray, position: np.ndarray | None) -> np.ndarray:
        step, space = np.float32(self.limits.max_change), self.limits.workspace
        safe = np.clip(wanted, self._last - step, self._last + step)
        if space is not None:
            # Without a position nothing is known to be safe but to hold.
            hold = self._hold
            safe = hold if position is None else space.confine(safe, position, hold)
        limited: np.ndarray = np.clip(safe, self._low, self._high).astype(np.float32)
        return limited
