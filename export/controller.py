"""The last hand before the motors: fixed rate, limits, and a reason for every step not planned.

No transport and no clock of its own: whoever owns the robot calls :meth:`Controller.tick` once per
control period with the time and the newest camera frame, and sends what comes back.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from export.limits import Limits, Workspace
from export.messages import HARMLESS, Command, Fault, Frame, blank, copied, number
from export.record import RobotLog
from export.watchdog import Late, Worker
from planning.mpc import MPCAgent
from robot_wm.contracts import check_image
from robot_wm.errors import ConfigError, InputError, StorageError

__all__ = ["Command", "Controller", "Fault", "Frame", "Limits", "Workspace"]

OVERHEAD = 0.05  # of a tick beyond the wait for its plan: copies, checks, a busy machine [s]
START = 30.0  # longest time that encoding a goal may take, and for which `start` waits [s]
MOVING = 0.05  # change of an entry from the hold action that counts as motion
TICKS = 5  # from which the mean pace is taken


@dataclass
class Controller:
    """Drives an agent at a fixed rate and never moves unsafely.

    What it promises, whatever camera, clock, planner, goals, log and callers do, from any thread:

    * **Every tick answers.** :meth:`tick` raises nothing after the first :meth:`start`, and takes
      no longer than ``limits.late`` + 50 ms (``OVERHEAD``): the planner works in a thread of its
      own, and one that hangs is left behind. The time that the machine gives to other processes
      comes on top.
    * **Every command is finite, within the model's bounds, and within** ``limits.max_change`` **of
      the one before**, also across :meth:`start`.
    * **With a workspace the target stays in the box**, as long as the robot moves no further than
      it is told: commands shrink in time to stop there within the rate limit. Where something
      pushes the robot towards a wall, the box comes before the rate limit. Where its position is
      not known, it brakes.
    * **Only what was checked is planned from**: images are copied when they come. A plan that comes
      late, fails, or says something that is no action is not used: the robot comes to rest.
    * **After** ``limits.patience`` **faulty plans in a row it stops**: it holds until the next
      :meth:`start`.
    * **Every fault is told** by the command of its tick and counted in ``faults``.

    Args:
        agent: plans from images; ``agent.model.spec`` tells bounds and period. It is used by one
            thread at a time.
        limits: see :class:`Limits`.
        clock: seconds, only to time the planner.
        log: keeps what was seen and done, if given; end it after the last step.

    Attributes:
        faults: how often each fault was seen since construction.
        ticks: control steps since construction.
        stopped: whether it holds until the next start.
    """

    agent: MPCAgent
    limits: Limits
    clock: Callable[[], float] = time.perf_counter
    log: RobotLog | None = None
    faults: Counter[Fault] = field(default_factory=Counter)
    ticks: int = 0
    stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        spec = self.agent.model.spec
        dim = spec.control_dim
        self._low = np.asarray(spec.action_low[:dim], np.float32)
        self._high = np.asarray(spec.action_high[:dim], np.float32)
        self._hold = np.asarray(self.limits.hold, np.float32)
        within = self._hold.shape == (dim,) and bool(
            (self._hold >= self._low).all() and (self._hold <= self._high).all()
        )
        if not within:
            raise ConfigError(
                f"hold action {self.limits.hold}", f"{dim} numbers within the bounds", "correct it"
            )
        space = self.limits.workspace
        if space is not None and len(space.low) != dim:
            raise ConfigError(
                f"a workspace of {len(space.low)} entries", f"{dim}, one for each of the action's",
                "correct it",
            )  # fmt: skip
        self._period, self._block, self._size = spec.control_dt, spec.block, spec.image_size
        # Models from a bundle can tell what they have never seen; others are believed.
        self._is_novel = getattr(self.agent.model, "is_novel", None)
        self._worker = Worker()
        self._starts, self._state = threading.Lock(), threading.RLock()
        self._started = self._starting = False
        self._last = self._hold.copy()
        self._void = True  # whether the agent's history is not what was executed
        self._waiting: list[Fault] = []  # faults between two ticks, told by the next

    def start(
        self,
        goal: np.ndarray,
        seed: int = 0,
        via: Sequence[np.ndarray] = (),
        unlike: bool = False,
    ) -> None:
        """Begin an episode towards a goal; clears a stop.

        The goal is looked at before anything changes: where it is refused, what was pursued before
        is pursued on. Ticks meanwhile come to rest.

        Args:
            goal: image uint8 ``[S, S, 3]``, or several that will do ``[K, S, S, 3]``.
            seed: of the planner.
            via: images to pass on the way, in this order.
            unlike: take goals that are unlike everything the model was trained on.

        Raises:
            InputError: an image of another size or dtype, a blank one, one unlike everything seen.
            ConfigError: the planner does not answer.
        """
        images = self._pictures(goal)
        passed = np.concatenate([self._pictures(each) for each in via]) if len(via) else ()
        told: dict[str, Any] = {"image": images[0] if np.ndim(goal) == 3 else images, "via": passed}
        with self._starts:
            check = getattr(self.agent.model, "check_goal", None)
            if check is not None and not unlike:
                for image in (*images, *passed):
                    self._patiently(partial(check, image))
            with self._state:
                self._starting = True
                if self.log is not None:
                    self.log.close()
            try:
                self._flush()
                self._patiently(partial(self.agent.reset, told, seed))
            except BaseException:
                with self._state:
                    self._starting, self._void = False, True
                raise
            with self._state:
                self._begin(seed)

    def _begin(self, seed: int) -> None:
        self._seed, self._started, self._starting = seed, True, False
        self._now: float | None = None
        self._paces: deque[float] = deque(maxlen=TICKS)
        self._phase, self._failed, self._equal = 0, 0, 0
        self._seen: np.ndarray | None = None
        self._stamp = -np.inf  # of the last frame that was planned from
        self._moved = self._planned = self._void = self.stopped = False

    def _pictures(self, goal: Any) -> np.ndarray:
        """Copies of goal images, uint8 ``[K, S, S, 3]``."""
        try:
            images = np.array(goal)
        except Exception as error:  # whatever an array's own methods raise
            raise InputError(f"a goal that is no image: {error}", "uint8 pixels", "pass an image")\
                from error  # fmt: skip
        images = images[None] if images.ndim == 3 else images
        check_image(images, self._size)
        for image in images:
            if blank(image):
                raise InputError(
                    "a goal image of one colour", "a picture of the scene", "look at the goal"
                )
        return images

    def _patiently(self, work: Callable[[], Any]) -> Any:
        try:
            return self._worker.call(work, START)
        except Late as error:
            raise ConfigError(
                f"a planner that has not answered for {START:g} s", "one that answers",
                "start again with another planner",
            ) from error  # fmt: skip

    def _flush(self) -> None:
        """Write what was logged. A full disk must not keep the robot from its goal."""
        if self.log is not None:
            try:
                self.log.flush()
            except StorageError:
                self._tell(Fault.LOG)

    def think(self) -> None:
        """Plan between two control steps, if the agent can (:class:`planning.clock.ClockAgent`).

        Call it once the action of a tick is sent, from any thread. It waits no longer than
        ``limits.late``; what goes wrong is told by the next tick.
        """
        think = getattr(self.agent, "think", None)
        with self._state:
            ready = self._started and not (self._starting or self.stopped or self._void)
        if think is None or not ready or self._worker.busy:
            return
        began = self.clock()
        try:
            self._worker.call(think, self.limits.late)
            late = self.clock() - began > self.limits.late
        except Late:
            late = True
        except Exception:  # whatever the planner raises is the planner's fault
            self._tell(Fault.PLANNER)
            return
        if late:
            self._tell(Fault.LATE)

    def _tell(self, fault: Fault) -> None:
        """Have the next tick tell of a fault between two of them."""
        with self._state:
            self._waiting.append(fault)

    def tick(self, now: float, frame: Frame | None) -> Command:
        """One control step.

        Args:
            now: the caller's clock [s].
            frame: newest camera frame; looked at once per block.

        Raises:
            ConfigError: before :meth:`start`.
        """
        with self._state:
            if not self._started:
                raise ConfigError("tick() before start()", "an episode with a goal", "start first")
            return self._tick(number(now), frame)

    def _tick(self, now: float, frame: Frame | None) -> Command:
        faults, self._waiting = self._waiting, []
        faults += self._time(now)
        timely = HARMLESS.issuperset(faults)
        position = self._position(now, frame)
        if self.limits.workspace is not None and position is None:
            faults.append(Fault.LOST)
        if self._starting:
            faults.append(Fault.STARTING)
        looked: np.ndarray | None = None
        if self._phase == 0:
            fault, looked = self._look(now, frame) if timely else (None, None)
            faults += [] if fault is None else [fault]
            self._planned = True
        quiet = HARMLESS.issuperset(faults) and not (self.stopped or self._starting)
        self._planned = self._planned and quiet
        wanted = self._hold
        if self._planned:
            wanted, fault = self._ask(looked is not None)
            if fault is not None:
                faults.append(fault)
                looked = None if fault is Fault.NOVEL else looked
        self._account(faults)
        self._phase = (self._phase + 1) % self._block
        self.ticks += 1
        self.faults.update(faults)
        self._last = self._limit(wanted, position)
        self._moved = self._moved or bool(np.abs(self._last - self._hold).max() > MOVING)
        if self.log is not None:
            self.log.tick(looked, self._last)
        return Command(self._last.copy(), tuple(faults), self.stopped)

    def _time(self, now: float) -> list[Fault]:
        """What is wrong with the caller's clock or with the distance of its ticks."""
        if not np.isfinite(now):
            return [Fault.CLOCK]
        before, self._now = self._now, now
        if before is None:
            return []
        periods = (now - before) / self._period
        if not 0 <= periods <= self.limits.jump:
            self._paces.clear()
            return [Fault.CLOCK]
        self._paces.append(periods)
        pace, most = sum(self._paces) / TICKS, self.limits.pace
        full = len(self._paces) == TICKS
        return [Fault.PACE] if full and not 1 / most <= pace <= most else []

    def _look(self, now: float, frame: Frame | None) -> tuple[Fault | None, np.ndarray | None]:
        """What is wrong with this frame, or a copy of its image that can be planned from."""
        if frame is None:
            return Fault.NO_FRAME, None
        image = copied(getattr(frame, "image", None))
        if image is None or image.shape != (self._size, self._size, 3) or image.dtype != np.uint8:
            return Fault.MALFORMED, None
        if not self._fresh(now, frame):
            return Fault.STALE, None
        if (stamp := number(frame.stamp)) <= self._stamp:
            return Fault.ORDER, None
        if blank(image):
            return Fault.BLANK, None
        if self._seen is None or not np.array_equal(image, self._seen):
            self._equal = 0
        elif self._moved:  # standing still, a living camera may see the same
            self._equal += 1
        self._seen, self._stamp, self._moved = image, stamp, False
        return (Fault.FROZEN, None) if self._equal >= self.limits.frozen - 1 else (None, image)

    def _ask(self, looked: bool) -> tuple[np.ndarray, Fault | None]:
        """The agent's action, or what is wrong with it."""
        if self._worker.busy:
            # What was asked before is not answered yet: waiting again would wait for the same.
            return self._hold, Fault.LATE
        began, image = self.clock(), self._seen
        try:
            action = self._worker.call(
                partial(self._plan, image, looked, self._void, self._seed), self.limits.late
            )
        except Late:
            return self._hold, Fault.LATE
        except Exception:  # whatever the planner raises is the planner's fault
            return self._hold, Fault.PLANNER
        if action is None:
            return self._hold, Fault.NOVEL
        self._void = False
        if action.shape != self._hold.shape or not np.isfinite(action).all():
            return self._hold, Fault.PLANNER
        late = self.clock() - began > self.limits.late
        return (self._hold, Fault.LATE) if late else (action, None)

    def _plan(self, image: Any, looked: bool, void: bool, seed: int) -> np.ndarray | None:
        """In the planner's thread: the agent's action, or None for a scene it does not know."""
        if looked and self._is_novel is not None and self._is_novel(image):
            return None
        if void:
            self.agent.restart(seed)
        return np.array(self.agent.act({"image": image.copy()}), np.float32)

    def _account(self, faults: list[Fault]) -> None:
        """Hold for the rest of a faulty block, then plan afresh; stop after too many in a row."""
        if not HARMLESS.issuperset(faults):
            # What was executed is no longer what was planned: the agent's history is void.
            self._failed, self._planned, self._void = self._failed + 1, False, True
            self.stopped = self.stopped or self._failed >= self.limits.patience
        elif self._phase == 0 and not self._starting:
            self._failed = 0

    def _fresh(self, now: float, frame: Frame) -> bool:
        age = now - number(getattr(frame, "stamp", None))
        return bool(-self._period <= age <= self.limits.stale)

    def _position(self, now: float, frame: Frame | None) -> np.ndarray | None:
        """Where the robot is, if the frame says so and is not old."""
        if getattr(frame, "position", None) is None or not self._fresh(now, frame):  # type: ignore[arg-type]
            return None
        with contextlib.suppress(Exception):  # whatever an array's own methods raise
            position = np.array(frame.position, np.float64)  # type: ignore[union-attr]
            if position.shape == self._hold.shape and np.isfinite(position).all():
                return position
        return None

    def _limit(self, wanted: np.ndarray, position: np.ndarray | None) -> np.ndarray:
        step, space = np.float32(self.limits.max_change), self.limits.workspace
        if space is not None and position is None:
            # Without a position nothing is known to be safe but to come to rest.
            wanted = self._hold
        safe = np.clip(wanted, self._last - step, self._last + step)
        if space is not None and position is not None:
            safe = np.clip(safe, *space.bounds(position, self._hold, float(step)))
        limited: np.ndarray = np.clip(safe, self._low, self._high).astype(np.float32)
        return limited
