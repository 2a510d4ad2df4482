"""The last hand before the motors: fixed rate, limits, and a reason for every step not planned.

No transport and no clock of its own: whoever owns the robot calls :meth:`Controller.tick` once per
control period with the time and the newest camera frame, and sends what comes back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from export.robot.episode_logger import RobotLog
from export.robot.goal_checks import on_the_way, pictures
from export.robot.messages import HARMLESS, Command, Fault, Frame, logged, number, numbers, taken
from export.robot.safety_limits import Limits, Workspace
from export.robot.senses import Camera, Pace, Whereabouts
from export.robot.watchdog import Late, Worker
from planning.agent.checks import as_planned, check_known
from planning.agent.mpc import MPCAgent
from planning.agent.protocols import DetectsNovelty, RestoresPictures, ThinksAhead
from robot_wm.core.errors import ConfigError, InputError

__all__ = ["Command", "Controller", "Fault", "Frame", "Limits", "Workspace"]

OVERHEAD = 0.05  # of a tick beyond the wait for its plan: copies, checks, a busy machine [s]
START = 30.0  # longest time that encoding a goal may take, and for which `start` waits [s]
MOVING = 0.05  # of half an action's range: a change from the hold action that counts as motion


@dataclass
class Controller:
    """Drives an agent at a fixed rate and never moves unsafely.

    What it promises, whatever camera, clock, planner, goals, log and callers do, from any thread:

    * **Every tick answers.** :meth:`tick` raises nothing after the first :meth:`start`, and takes
      no longer than ``limits.max_plan_time_s`` + 50 ms (``OVERHEAD``): the planner works in a
      thread of its own, and one that hangs is left behind. The time that the machine gives to other
      processes comes on top.
    * **Every command is finite, within the model's bounds, and within** ``limits.max_change`` **of
      the one before**, also across :meth:`start`.
    * **With a workspace the target stays in the box**, as long as the robot carries out a command
      within a period and moves no further than it is told: commands shrink in time to stop there
      within the rate limit, and what was sent since its position was measured counts as well. Where
      something pushes the robot towards a wall, the box comes before the rate limit. Where its
      position is not known, it brakes.
    * **Only what was checked is planned from**: images are copied when they come. A plan that comes
      late, fails, or says something that is no action is not used: the robot comes to rest. Only
      what was planned from is logged.
    * **After** ``limits.patience`` **faults in a row it stops**: it holds until the next
      :meth:`start`. Faults are in a row until a whole block has none.
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
        self._noop, space = self.limits.hold_within(self._low, self._high), self.limits.workspace
        self._period, self._block, self._size = spec.control_dt, spec.block, spec.image_size
        # Models from a bundle can tell what they have never seen; others are believed.
        model = self.agent.model
        self._is_novel = model.is_novel if isinstance(model, DetectsNovelty) else None
        self._camera = Camera(self.limits, self._period)
        self._pace = Pace(self.limits, self._period)
        if space is not None:
            self._where = Whereabouts(space.reach, self._period, self.limits.max_frame_age_s, dim)
        self._worker = Worker()
        self._starts, self._state = threading.Lock(), threading.RLock()
        self._started = self._starting = False
        self._last = self._noop.copy()
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
            InputError: an image of another size or dtype, a blank one, one unlike everything seen;
                a seed that is none.
            ConfigError: the planner does not answer, or fails at this goal: the robot stops.
        """
        images, passed = pictures(goal, self._size), on_the_way(via, self._size)
        if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
            raise InputError(f"seed = {seed!r}", "a whole number, 0 or more", "correct the seed")
        obs: dict[str, Any] = {"image": images[0] if np.ndim(goal) == 3 else images, "via": passed}
        with self._starts:
            if isinstance(self.agent, RestoresPictures):
                self.agent.view_of(images)  # remembered; found here, the planner goes on meanwhile
            if not unlike:
                known = partial(check_known, self.agent, images, passed)
                self._worker.patiently(known, START)
            with self._state:
                self._starting = True
                if self.log is not None:
                    self._waiting += logged(self.log.close)
            try:
                if self.log is not None:
                    # The disk may be slow: ticks go on meanwhile.
                    fault = logged(self.log.flush)
                    with self._state:
                        self._waiting += fault
                self._worker.patiently(partial(self.agent.reset, obs, int(seed)), START)
            except BaseException as error:
                with self._state:
                    self._starting, self._void = False, True
                    # Unless the goal was refused, nobody knows which one the planner has now.
                    self.stopped = self.stopped or not isinstance(error, InputError)
                raise
            with self._state:
                self._begin(int(seed))

    def _begin(self, seed: int) -> None:
        self._seed, self._started, self._starting = seed, True, False
        self._phase, self._failed, self._clean = 0, 0, True
        self._planned = self._void = self.stopped = False
        self._camera.begin()
        self._pace.begin()

    def think(self) -> None:
        """Plan between two control steps, if the agent can (``agent.timing.realtime_mpc``).

        Call it once the action of a tick is sent, from any thread. It waits no longer than
        ``limits.max_plan_time_s``; what goes wrong is told by the next tick.
        """
        think = self.agent.plan_async if isinstance(self.agent, ThinksAhead) else None
        with self._state:
            ready = self._started and not (self._starting or self.stopped or self._void)
        if think is None or not ready or self._worker.busy:
            return
        began = self.clock()
        fault = None
        try:
            self._worker.call(think, self.limits.max_plan_time_s)
            fault = Fault.LATE if self.clock() - began > self.limits.max_plan_time_s else None
        except Late:
            fault = Fault.LATE
        except Exception:  # whatever the planner raises is the planner's fault
            fault = Fault.PLANNER
        with self._state:
            self._waiting += [] if fault is None else [fault]

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
        seen = taken(frame, self._size, len(self._noop))
        faults += _told(self._pace.fault(now))
        timely = HARMLESS.issuperset(faults)
        # An old position is no position.
        position = seen.position if self._camera.fresh(now, seen) else None
        if self.limits.workspace is not None and position is None:
            faults.append(Fault.LOST)
        if self._starting:
            faults.append(Fault.STARTING)
        looks = self._phase == 0
        if looks:
            if timely:
                faults += _told(Fault.NO_FRAME if frame is None else self._camera.fault(now, seen))
            self._planned = self._clean = True
        quiet = HARMLESS.issuperset(faults) and not (self.stopped or self._starting)
        self._planned = self._planned and quiet
        wanted, used = self._noop, False
        if self._planned:
            wanted, fault = self._ask(looks)
            faults += _told(fault)
            used = looks and fault is None
        self._account(faults)
        self._last = self._limit(wanted, now, seen.stamp, position)
        if (np.abs(self._last - self._noop) > MOVING * (self._high - self._low) / 2).any():
            self._camera.moved()
        if self.log is not None:
            image = self._camera.seen if used else None
            faults += logged(partial(self.log.tick, image, self._last))
        self._phase = (self._phase + 1) % self._block
        self.ticks += 1
        self.faults.update(faults)
        return Command(self._last.copy(), tuple(faults), self.stopped)

    def _ask(self, looks: bool) -> tuple[np.ndarray, Fault | None]:
        """The agent's action, or what is wrong with it."""
        if self._worker.overdue:
            # What was asked before is not answered yet: waiting again would wait for the same.
            return self._noop, Fault.LATE
        began, image = self.clock(), self._camera.seen
        try:
            said = self._worker.call(
                partial(self._plan, image, looks, self._void, self._seed),
                self.limits.max_plan_time_s,
            )
        except Late:
            return self._noop, Fault.LATE
        except Exception:  # whatever the planner raises is the planner's fault
            return self._noop, Fault.PLANNER
        if isinstance(said, Fault):
            return self._noop, said
        self._void = False
        late = self.clock() - began > self.limits.max_plan_time_s
        return (self._noop, Fault.LATE) if late else (said, None)

    def _plan(self, image: Any, looks: bool, void: bool, seed: int) -> np.ndarray | Fault:
        """In the planner's thread: the agent's action, or why there is none."""
        if looks and self._is_novel and self._is_novel(as_planned(self.agent, image.copy())):
            return Fault.NOVEL
        if void:
            self.agent.restart(seed)
        action = numbers(self.agent.act({"image": image.copy()}), self._noop.shape)
        if action is None:
            return Fault.PLANNER
        return np.clip(action, self._low, self._high).astype(np.float32)

    def _account(self, faults: list[Fault]) -> None:
        """Hold for the rest of a faulty block, then plan afresh; stop after too many in a row."""
        if not HARMLESS.issuperset(faults):
            # What was executed is no longer what was planned: the agent's history is void.
            self._failed, self._planned, self._void = self._failed + 1, False, True
            self._clean = False
            self.stopped = self.stopped or self._failed >= self.limits.patience
        elif self._phase == self._block - 1 and self._clean:
            self._failed = 0

    def _limit(
        self, wanted: np.ndarray, now: float, stamp: float, position: np.ndarray | None
    ) -> np.ndarray:
        """The command, and where the robot may be then."""
        step, space = np.float32(self.limits.max_change), self.limits.workspace
        if space is not None and position is None:
            # Without a position nothing is known to be safe but to come to rest.
            wanted = self._noop
        safe = np.clip(wanted, self._last - step, self._last + step)
        if space is not None and position is not None:
            where = self._where.corners(self._pace.elapsed, now - stamp, position)
            safe = np.clip(safe, *space.bounds(*where, self._noop, self.limits.max_change))
        limited: np.ndarray = np.clip(safe, self._low, self._high).astype(np.float32)
        if space is not None:
            self._where.sent(self._pace.elapsed, limited)
        return limited


def _told(fault: Fault | None) -> list[Fault]:
    return [] if fault is None else [fault]
