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
class Trouble:
    """Something that goes wrong.

    Attributes:
        told: what the controller may call it; empty where there is nothing to tell.
        ticks: how long it lasts, in control steps.
        share: how often it is drawn, against 1 for the others.
    """

    told: tuple[str, ...]
    ticks: int = 12
    share: float = 1.0


TROUBLES: dict[str, Trouble] = {
    "dropped frames": Trouble(("no frame",)),
    "camera gone for long": Trouble(("no frame",), 80),
    "old frames": Trouble(("stale frame",)),
    "frames of the future": Trouble(("stale frame",)),
    "stamp that is no number": Trouble(("stale frame",)),
    "stamp that repeats": Trouble(("frame not newer than the last", "stale frame"), 24),
    "stamps that run backwards": Trouble(("frame not newer than the last", "stale frame"), 24),
    "black frames": Trouble(("blank frame",)),
    "frames of NaN": Trouble(("malformed frame",)),
    "frames of another size": Trouble(("malformed frame",)),
    "frames that are none": Trouble(("malformed frame", "no frame")),
    "noise for frames": Trouble(("unknown scene",)),
    "frozen camera": Trouble(("frozen camera",), 150),
    "driver that reuses its buffer": Trouble(()),
    "clock that jumps": Trouble(("clock jump",), 1),
    "clock that runs backwards": Trouble(("clock jump",), 1),
    "clock that is no number": Trouble(("clock jump",), 3),
    "loop at a third of its rate": Trouble(("ticks too far apart or too close",), 20),
    "loop at thrice its rate": Trouble(("ticks too far apart or too close",), 20),
    "planner that needs too long": Trouble(("late plan",), 2),
    "planner that hangs": Trouble(("late plan",), 2, 0.005),
    "planner that raises": Trouble(("planner failed",), 2),
    "planner that says nonsense": Trouble(("planner failed",), 2),
    "planner that wants too much": Trouble((), 20),
    "position that is none": Trouble(("position unknown",)),
    "another goal in motion": Trouble((), 1),
    "goal that is none": Trouble((), 1),
    "goal from another thread": Trouble((), 1, 0.2),
    "thoughts from another thread": Trouble((), 1, 0.2),
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

    def restart(self, seed: int) -> None:
        """Forget."""
        self._alone(partial(self.agent.restart, seed))

    def think(self) -> None:
        """Plan ahead, if the agent can."""
        if isinstance(self.agent, ThinksAhead):
            self._alone(self.agent.think)

    def act(self, obs: dict[str, np.ndarray]) -> Any:
        """The agent's action, or what the trouble makes of it."""
        trouble = self.trouble
        if self.buffer is not None:
            self.buffer[:] = 0  # the driver writes the next frame
            self.mixed += not obs["image"].any()
        action = self._alone(partial(self.agent.act, obs))
        if trouble == "planner that hangs":
            time.sleep(HUNG * self._limits.late)
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
