"""What can go wrong around a controller, for :mod:`export.robot.stress_test`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from export.robot.safety_limits import Limits
from planning.agent.mpc import MPCAgent
from planning.agent.protocols import ThinksAhead
from planning.agent.restoring.camera import View
from robot_wm.core.errors import InputError

ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: InputError("a broken planner", "a working one", "this error is on purpose"),
    lambda: RuntimeError("device lost"),
    MemoryError,
    lambda: OSError(5, "input/output error"),
    lambda: IndexError("x"),
    lambda: KeyError("x"),
    ZeroDivisionError,
    lambda: TypeError("x"),
    StopIteration,
    lambda: type("Foreign", (Exception,), {})("of a library"),
)
ACTIONS: tuple[Any, ...] = (np.nan, np.inf, "text", None, [[1.0], [1.0, 2.0]], np.zeros(7), {})
SOMETHING: tuple[Any, ...] = ("text", [[1], [1, 2]], None, float("nan"), {}, object())
HUNG = 1.5  # how long a planner hangs, in units of what it is allowed [longest plan]


@dataclass(frozen=True)
class InjectedFault:
    """Something that goes wrong.

    Attributes:
        told: what the controller may call it; empty where there is nothing to tell.
        ticks: how long it lasts, in control steps.
        share: how often it is drawn, against 1 for the others.
    """

    reported_as: tuple[str, ...]
    ticks: int = 12
    share: float = 1.0


INJECTED_FAULTS: dict[str, InjectedFault] = {
    "dropped frames": InjectedFault(("no frame",)),
    "camera gone for long": InjectedFault(("no frame",), 80),
    "old frames": InjectedFault(("stale frame",)),
    "frames of the future": InjectedFault(("stale frame",)),
    "stamp that is no number": InjectedFault(("stale frame",)),
    "stamp that repeats": InjectedFault(("frame not newer than the last", "stale frame"), 24),
    "stamps that run backwards": InjectedFault(
        ("frame not newer than the last", "stale frame"), 24
    ),
    "black frames": InjectedFault(("blank frame",)),
    "frames of NaN": InjectedFault(("malformed frame",)),
    "frames of another size": InjectedFault(("malformed frame",)),
    "frames that are none": InjectedFault(("malformed frame", "no frame")),
    "noise for frames": InjectedFault(("unknown scene",)),
    "frozen camera": InjectedFault(("frozen camera",), 150),
    "driver that reuses its buffer": InjectedFault(()),
    "clock that jumps": InjectedFault(("clock jump",), 1),
    "clock that runs backwards": InjectedFault(("clock jump",), 1),
    "clock that is no number": InjectedFault(("clock jump",), 3),
    "loop at a third of its rate": InjectedFault(("ticks too far apart or too close",), 20),
    "loop at thrice its rate": InjectedFault(("ticks too far apart or too close",), 20),
    "planner that needs too long": InjectedFault(("late plan",), 2),
    "planner that hangs": InjectedFault(("late plan",), 2, 0.005),
    "planner that raises": InjectedFault(("planner failed",), 2),
    "planner that says nonsense": InjectedFault(("planner failed",), 2),
    "planner that wants too much": InjectedFault((), 20),
    "position that is none": InjectedFault(("position unknown",)),
    "another goal in motion": InjectedFault((), 1),
    "goal that is none": InjectedFault((), 1),
    "goal from another thread": InjectedFault((), 1, 0.2),
    "thoughts from another thread": InjectedFault((), 1, 0.2),
}


class FaultyAgent:
    """The agent, slow, hung or broken when told so; and it notes what it is shown."""

    def __init__(self, agent: MPCAgent, limits: Limits) -> None:
        self.agent, self.model, self._limits = agent, agent.model, limits
        self.time, self.trouble, self.mixed, self.inside = 0.0, "", 0, 0
        self.error: Callable[[], Exception] = ZeroDivisionError
        self.answer: Any = None
        self.buffer: np.ndarray | None = None

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """See :class:`planning.agent.mpc.MPCAgent`, as the other methods."""
        self._alone(partial(self.agent.reset, goal, seed))

    def view_of(self, images: np.ndarray) -> View:
        """How the goal's camera stands."""
        return self.agent.view_of(images)

    @property
    def view(self) -> View:
        """How the camera of this episode stands."""
        return self.agent.view

    def restart(self, seed: int) -> None:
        """Forget."""
        self._alone(partial(self.agent.restart, seed))

    def plan_async(self) -> None:
        """Plan ahead, if the agent can."""
        if isinstance(self.agent, ThinksAhead):
            self._alone(self.agent.plan_async)

    def act(self, obs: dict[str, np.ndarray]) -> Any:
        """The agent's action, or what the trouble makes of it."""
        trouble = self.trouble
        if self.buffer is not None:
            self.buffer[:] = 0  # the driver writes the next frame
            self.mixed += not obs["image"].any()
        action = self._alone(partial(self.agent.act, obs))
        if trouble == "planner that hangs":
            time.sleep(HUNG * self._limits.max_plan_time_s)
        elif trouble == "planner that raises":
            raise self.error()
        elif trouble == "planner that says nonsense":
            return self.answer
        elif trouble == "planner that wants too much":
            return 1e6 * np.sign(action)
        self.time += 1e3 * (trouble == "planner that needs too long")
        return action

    def _alone(self, work: Callable[[], Any]) -> Any:
        """Note where two threads use the agent at once."""
        self.inside += 1
        self.mixed += self.inside > 1
        try:
            return work()
        finally:
            self.inside -= 1
