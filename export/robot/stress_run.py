"""The stream, the faults and the checks around one controller, for :mod:`.stress_test`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from export.robot.controller import Command, Controller, Frame
from export.robot.fault_injection import ACTIONS, ERRORS, INJECTED_FAULTS, SOMETHING, FaultyAgent
from export.robot.safety_limits import Limits, Workspace
from export.robot.stress_report import StressReport
from planning.agent.checks import check_known
from planning.agent.mpc import MPCAgent
from planning.agent.protocols import DetectsNovelty
from robot_wm.core.errors import InputError, RobotWMError


def waited() -> float:
    """How long this thread has waited for a core that other work had [s]; 0 where nobody tells.

    What the machine gives to other processes is nothing that a controller can promise.
    """
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as stream:
            return 1e-9 * int(stream.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0


class StressRun:
    """The stream, the faults and the checks around one controller."""

    def __init__(
        self,
        agent: MPCAgent,
        limits: Limits,
        frames: np.ndarray,
        rng: np.random.Generator,
        rate: float,
        length: int,
    ) -> None:
        spec = agent.model.spec
        dim = spec.control_dim
        if limits.workspace is None:
            box = Workspace((-0.5,) * dim, (0.5,) * dim, 0.1)
            limits = replace(limits, workspace=box)
        self.box: Any = limits.workspace
        self.agent = FaultyAgent(agent, limits)
        self.limits, self.frames, self.rng, self.rate = limits, frames, rng, rate
        self.length, self.out = length, StressReport()
        controlled: Any = self.agent  # the methods and the model of an MPCAgent
        self.controller = Controller(controlled, limits, clock=lambda: self.agent.time)
        self.block, self.period = spec.block, spec.control_dt
        self.low = np.asarray(spec.action_low[:dim], np.float32)
        self.high = np.asarray(spec.action_high[:dim], np.float32)
        self.last = np.asarray(limits.noop_action, np.float32)
        self.here = np.zeros(dim)
        self.now, self.played, self.left, self.age = 0.0, 0, 0, 0
        self.name, self.was_reported, self.excused, self.still = "", True, False, True
        self.stuck = np.array(frames[0])
        # The planner takes one in a thousand for a picture of exchanged channels.
        self.goals = [frame for frame in frames if _known(agent, frame)] or [*frames]
        knows = isinstance(agent.model, DetectsNovelty)
        self.names = [name for name in INJECTED_FAULTS if knows or name != "noise for frames"]
        shares = np.array([INJECTED_FAULTS[n].share for n in self.names])
        self.shares = shares / shares.sum()
        self.threads: list[threading.Thread] = []
        self.begin()

    def begin(self) -> None:
        """Another goal."""
        self.controller.start(self.goal(), seed=int(self.rng.integers(2**31)))
        self.age, self.excused = 0, True
        self.out.episodes += 1

    def goal(self) -> np.ndarray:
        """Some recorded picture that the planner takes."""
        return np.asarray(self.goals[self.rng.integers(len(self.goals))])

    def close(self) -> None:
        """Wait for what other threads do."""
        for thread in self.threads:
            thread.join()

    def tick(self) -> None:
        """One control step, checked."""
        if self.age >= self.length or self.controller.stopped:
            self.out.stops += self.controller.stopped
            self.begin()
        self.next_fault()
        now, frame = self.clock(), self.camera()
        began, others = time.perf_counter(), waited()
        try:
            command = self.controller.tick(now, frame)
        except Exception:
            self.out.raised += 1
            self.begin()
            return
        took = time.perf_counter() - began - (waited() - others)
        self.out.longest = max(self.out.longest, took)
        self.out.slow += took > self.limits.max_plan_time_s + 0.05
        self.check(command)
        self.controller.think()
        self.age += 1
        self.out.ticks += 1

    def next_fault(self) -> None:
        """Go on with what lasts, or draw something."""
        self.left -= 1
        if self.left > 0:
            return
        if self.name:
            self.judge()
        self.name, self.agent.trouble = "", ""
        if self.rng.random() >= self.rate / self.block:
            return
        self.name = str(self.rng.choice(self.names, p=self.shares))
        self.was_reported, self.excused = False, self.age < 2 * self.block
        # It must last until a block's frame is looked at.
        least = 2 * self.block if self.name.startswith("planner") else 1
        self.left = max(INJECTED_FAULTS[self.name].ticks, least)
        self.out.injected[self.name] += 1
        self.agent.trouble = self.name
        self.agent.error = ERRORS[self.rng.integers(len(ERRORS))]
        self.agent.answer = ACTIONS[self.rng.integers(len(ACTIONS))]
        self.stuck = np.array(self.frames[self.played])
        self.still = True
        self.call()

    def judge(self) -> None:
        """Whether what is over was told."""
        if not INJECTED_FAULTS[self.name].reported_as:
            return
        self.out.reported[self.name] += self.was_reported
        silent = self.excused or (self.name == "frozen camera" and self.still)
        self.out.unreported += not (self.was_reported or silent)

    def call(self) -> None:
        """What other callers do to the controller."""
        if self.name == "another goal in motion":
            self.begin()
        elif self.name == "goal that is none":
            wrong = (
                np.zeros_like(self.frames[0]),
                self.frames[0][:-1],
                "text",
                None,
                [[1], [1, 2]],
            )
            try:
                self.controller.start(wrong[self.rng.integers(len(wrong))])  # type: ignore[arg-type]
                self.out.mixed += 1
            except RobotWMError:
                pass
        elif self.name == "goal from another thread":
            self.excused, self.age = True, 0
            self.spawn(partial(self.controller.start, self.goal()))
        elif self.name == "thoughts from another thread":
            self.spawn(self.controller.think)

    def spawn(self, work: Callable[[], Any]) -> None:
        """Do it beside the ticks."""
        self.threads = [t for t in self.threads if t.is_alive()]
        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def clock(self) -> Any:
        """The caller's time."""
        step = self.period * (1 + 0.1 * self.rng.uniform(-1, 1))
        if self.name == "clock that jumps":
            step = 100 * self.period
        if self.name == "clock that runs backwards":
            step = -3 * self.period
        if self.name == "loop at a third of its rate":
            step *= 3
        if self.name == "loop at thrice its rate":
            step /= 3
        self.now += step
        if self.name == "clock that is no number":
            return SOMETHING[self.rng.integers(len(SOMETHING))]
        return self.now

    def camera(self) -> Any:
        """The newest frame, or what is left of it."""
        name = self.name
        self.played = (self.played + 1) % len(self.frames)
        image: Any = np.array(self.frames[self.played])
        # No two pictures of a living camera are the same to the last bit.
        image[0, 0, 0] = self.out.ticks % 251
        stamp: Any = self.now - 0.1 * self.period * self.rng.random()
        position: Any = self.here.copy()
        if name in ("dropped frames", "camera gone for long"):
            return None
        if name == "frozen camera":
            image = self.stuck.copy()
        if name == "black frames":
            image = np.zeros_like(image)
        if name == "frames of NaN":
            image = np.full(image.shape, np.nan, np.float32)
        if name == "frames of another size":
            image = image[: len(image) // 2]
        if name == "frames that are none":
            image = SOMETHING[self.rng.integers(len(SOMETHING))]
        if name == "noise for frames":
            image = self.rng.integers(0, 256, image.shape, dtype=np.uint8)
        if name == "old frames":
            stamp -= 1e3
        if name == "frames of the future":
            stamp += 1e3
        if name == "stamp that is no number":
            stamp = SOMETHING[self.rng.integers(len(SOMETHING))]
        if name == "stamp that repeats":
            stamp = self.now - self.period * (INJECTED_FAULTS[name].ticks - self.left)
        if name == "stamps that run backwards":
            stamp = self.now - 1.3 * self.period * (INJECTED_FAULTS[name].ticks - self.left)
        if name == "position that is none":
            position = SOMETHING[self.rng.integers(len(SOMETHING))]
        self.agent.buffer = None
        if name == "driver that reuses its buffer":
            self.agent.buffer = image
        return Frame(image, stamp, position)

    def check(self, command: Command) -> None:
        """Count what must never happen."""
        action, out = command.action, self.out
        moved = float(np.abs(action - self.last).max())
        out.moved = max(out.moved, moved)
        inside = (
            np.isfinite(action).all() and (action >= self.low).all() and (action <= self.high).all()
        )
        self.here = self.here + np.asarray(self.box.reach) * action
        inside = inside and (self.here >= np.asarray(self.box.low) - 1e-6).all()
        inside = inside and (self.here <= np.asarray(self.box.high) + 1e-6).all()
        out.outside += not inside or moved > self.limits.max_change + 1e-6
        if not inside:
            self.here = np.zeros_like(self.here)
        self.last = action
        self.still = self.still and float(np.abs(action).max()) < 0.05
        # A planner that is not asked, because a goal is being set, cannot fail; and when that is
        # done, an episode begins, whose clock has no time before.
        if "goal being set" in command.faults:
            self.age, self.excused = 0, True
        self.excused = self.excused or command.stopped
        if self.name and set(map(str, command.faults)) & set(
            INJECTED_FAULTS[self.name].reported_as
        ):
            self.was_reported = True
        out.mixed += self.agent.mixed
        self.agent.mixed = 0
        out.mixed += any(not self.controller.faults[fault] for fault in command.faults)


def _known(agent: MPCAgent, frame: np.ndarray) -> bool:
    """Whether a goal is taken."""
    try:
        check_known(agent, np.array(frame)[None])
    except InputError:
        return False
    return True
