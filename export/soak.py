"""The controller on a recorded stream for as long as you like, with every fault thrown at it.

Faults are drawn one at a time, at the ticks at which the controller looks at the camera: a fault
that nobody looks at is none. What is checked is what must never happen: an action outside its
bounds or further from the last one than allowed, a number that is not finite, an exception, a fault
that is not reported. No torch, no scene: this runs on the robot.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np

from export.controller import Command, Controller, Fault, Frame, Limits
from export.memory import memory_mb
from planning.mpc import MPCAgent
from robot_wm.errors import InputError
from robot_wm.progress import progress


class Injected(StrEnum):
    """What goes wrong, by the fault that the controller must report (below)."""

    DROPPED = "dropped frame"
    OLD = "frame from a second ago"
    BLACK = "black frame"
    NAN = "frame of NaN"
    SIZE = "frame of another size"
    STUCK = "camera repeats its last frame"
    DEAD = "camera process killed, restarted later"
    SLOW = "planner needs too long"
    BROKEN = "planner raises an error"
    CLOCK = "clock jumps"


REPORTED = {
    Injected.DROPPED: Fault.NO_FRAME,
    Injected.OLD: Fault.STALE,
    Injected.BLACK: Fault.BLANK,
    Injected.NAN: Fault.MALFORMED,
    Injected.SIZE: Fault.MALFORMED,
    Injected.STUCK: Fault.FROZEN,
    Injected.DEAD: Fault.NO_FRAME,
    Injected.SLOW: Fault.LATE,
    Injected.BROKEN: Fault.PLANNER,
    Injected.CLOCK: Fault.CLOCK,
}
COUNTED = ("injected", "reported")
LOOKS = {Injected.STUCK: 6, Injected.DEAD: 12}  # how many looks a fault lasts; others last one


class _Troubled:
    """The agent, slow or broken when told so. Slowness is told to the clock, nobody waits."""

    def __init__(self, agent: MPCAgent) -> None:
        self.agent, self.model = agent, agent.model
        self.time, self.trouble = 0.0, ""

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        self.agent.reset(goal, seed)

    def restart(self, seed: int) -> None:
        self.agent.restart(seed)

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        if self.trouble == Injected.BROKEN:
            raise InputError("a broken planner", "a working one", "this error is on purpose")
        self.time += 1e3 * (self.trouble == Injected.SLOW)
        return self.agent.act(obs)


@dataclass
class Soak:
    """What happened.

    Attributes:
        ticks, episodes, stops: control steps; goals begun; how often the controller stopped.
        injected, reported: how often each thing went wrong, and was reported as its fault.
        unreported: injections of which the controller said nothing, but for a stuck camera, which
            a robot that holds still cannot notice.
        outside: commands beyond bounds or rate limit, or not finite.
        moved: largest change of an action's entry from one command to the next.
        memory_mb: peak resident memory of the process after a tenth of the ticks and at the end
            [MiB].
    """

    ticks: int = 0
    episodes: int = 0
    stops: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    reported: Counter[str] = field(default_factory=Counter)
    unreported: int = 0
    outside: int = 0
    moved: float = 0.0
    memory_mb: tuple[float, float] = (0.0, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain types, the verdict among them."""
        # Not dataclasses.asdict: it would count the counters' items.
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told |= {name: {str(k): n for k, n in told[name].items()} for name in COUNTED}
        return {**told, "memory_mb": list(self.memory_mb), "passed": self.passed}

    @property
    def passed(self) -> bool:
        """No action outside the limits, no fault unreported, memory flat within 5 %."""
        early, late = self.memory_mb
        return not self.outside and not self.unreported and late <= 1.05 * early


def soak(
    agent: MPCAgent,
    limits: Limits,
    frames: np.ndarray,
    ticks: int,
    rate: float = 0.1,
    length: int = 100,
    seed: int = 0,
) -> Soak:
    """Run the controller.

    Args:
        agent: plans from images.
        limits: see :class:`export.controller.Limits`.
        frames: recorded stream uint8 ``[F, S, S, 3]``, played round and round.
        ticks: control steps.
        rate: faults per look at the camera.
        length: control steps per goal, unless the controller stops before.
        seed: of faults and goals.

    Raises:
        InputError: no frames.
    """
    if not len(frames):
        raise InputError("no recorded frames", "a stream of at least one", "record some")
    run = _Run(_Troubled(agent), limits, frames, np.random.default_rng(seed), rate, length)
    early = max(1, ticks // 10)
    with progress("soak", ticks) as report:
        for tick in range(ticks):
            run.tick()
            if tick + 1 == early:
                run.out.memory_mb = (memory_mb()[1], 0.0)
            if (tick + 1) % 1000 == 0:
                report(tick + 1, f"{sum(run.out.injected.values())} faults")
    run.out.memory_mb = (run.out.memory_mb[0], memory_mb()[1])
    return run.out


class _Run:
    """The stream, the faults and the checks around one controller."""

    def __init__(
        self,
        agent: _Troubled,
        limits: Limits,
        frames: np.ndarray,
        rng: np.random.Generator,
        rate: float,
        length: int,
    ) -> None:
        self.agent, self.limits, self.frames, self.rng = agent, limits, frames, rng
        self.rate, self.length, self.out = rate, length, Soak()
        controlled: Any = agent  # the two methods and the model of an MPCAgent
        self.controller = Controller(controlled, limits, clock=lambda: agent.time)
        spec = agent.model.spec
        self.block, self.period = spec.block, spec.control_dt
        self.low = np.asarray(spec.action_low[: spec.control_dim], np.float32)
        self.high = np.asarray(spec.action_high[: spec.control_dim], np.float32)
        self.now, self.played, self.left = 0.0, 0, 0
        self.fault: Injected | None = None
        self.begin()

    def begin(self) -> None:
        """Another goal."""
        goal = self.frames[self.rng.integers(len(self.frames))]
        self.controller.start(goal, seed=int(self.rng.integers(2**31)))
        self.last = np.asarray(self.limits.hold, np.float32)
        self.age, self.pending = 0, 0
        self.out.episodes += 1

    def tick(self) -> None:
        """One control step, checked."""
        if self.age >= self.length or self.controller.stopped:
            self.out.stops += self.controller.stopped
            self.begin()
        looks = self.age % self.block == 0
        if looks:
            self.choose()
        self.now += self.period * (100 if looks and self.fault is Injected.CLOCK else 1)
        self.agent.trouble = (self.fault or "") if looks else ""
        command = self.controller.tick(self.now, self.camera())
        self.check(command, looks)
        self.age += 1
        self.out.ticks += 1

    def choose(self) -> None:
        """Go on with a fault that lasts, or draw one."""
        self.left -= 1
        if self.left > 0:
            return
        self.fault, self.left = None, 0
        if self.rng.random() < self.rate:
            # An episode that begins has no time before, so its clock cannot jump.
            possible = [fault for fault in Injected if self.age or fault is not Injected.CLOCK]
            self.fault = possible[self.rng.integers(len(possible))]
            self.left = LOOKS.get(self.fault, 1)
            self.out.injected[self.fault] += 1
            self.pending = self.left

    def camera(self) -> Frame | None:
        """The newest frame, or what is left of it."""
        fault = self.fault
        if fault is not Injected.STUCK:
            self.played = (self.played + 1) % len(self.frames)
        image = self.frames[self.played]
        if fault in (Injected.DROPPED, Injected.DEAD):
            return None
        if fault is Injected.BLACK:
            image = np.zeros_like(image)
        if fault is Injected.NAN:
            image = np.full(image.shape, np.nan, np.float32)
        if fault is Injected.SIZE:
            image = image[: len(image) // 2]
        return Frame(image, self.now - (1e3 if fault is Injected.OLD else 0.0))

    def check(self, command: Command, looks: bool) -> None:
        """Count what must never happen."""
        action, out = command.action, self.out
        moved = float(np.abs(action - self.last).max())
        out.moved = max(out.moved, moved)
        inside = (
            np.isfinite(action).all() and (action >= self.low).all() and (action <= self.high).all()
        )
        out.outside += not inside or moved > self.limits.max_change + 1e-6
        self.last = action
        if not looks or self.fault is None:
            return
        self.pending -= 1
        if REPORTED[self.fault] in command.faults:
            out.reported[self.fault] += 1
            self.pending = -1  # said at least once is enough for a fault that lasts
        elif self.pending == 0 and not command.stopped and self.fault is not Injected.STUCK:
            out.unreported += 1
