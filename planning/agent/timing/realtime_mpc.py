"""An agent whose plans arrive late, because the world moves on while it thinks.

A plan asked for at control step k can be used from step k + d. Until then the robot goes on with
what is left of the plan before, or holds. So the first d actions of the new plan are not free: they
are what will be executed meanwhile, and the search keeps them fixed (bounds that meet). The model
rolls through them first, and the plan starts from where the robot will be by then; real-time
chunking freezes the same prefix (arXiv:2506.07339).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from planning.agent.mpc import MPCAgent
from robot_wm.core.errors import ConfigError

WARM_UP = 20  # plans of a process whose time is not believed: they load code and fill caches


class RealTimeMPC(MPCAgent):
    """MPC with a running clock (implements ``contracts.Agent``).

    A plan is asked for every ``execute`` blocks, if the one before has arrived. The search reckons
    with the constant delay, or with the 95th percentile of the measured ones so far. A plan that
    comes later than that joins late: the actions whose time has passed are dropped, and the robot
    holds where nothing was planned.

    Args:
        arguments, options: of :class:`MPCAgent`.
        delay: control steps per plan; None takes the time that looking and planning need, rounded
            up, at least 1.

    Attributes:
        counts: of this episode: ``plans``, ``late_plans`` (later than reckoned with),
            ``hold_ticks`` (control steps without a planned action), ``delay`` (control steps,
            summed over the plans).

    Raises:
        ConfigError: a negative delay, or one not below the length of a plan.
    """

    def __init__(self, *arguments: Any, delay: int | None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        spec = self.model.spec
        length = self.horizon * spec.block
        if delay is not None and not 0 <= delay < length:
            raise ConfigError(
                f"a delay of {delay} control steps",
                f"0 to {length - 1}, less than a plan of {length}",
                "plan further ahead or think less",
            )
        self.delay = delay
        self._hold = np.zeros(spec.control_dim, np.float32)
        self._measured: list[int] = []  # of all episodes

    def restart(self, seed: int) -> None:
        """See :class:`MPCAgent`."""
        super().restart(seed)
        # What will be executed, and whether a plan says so.
        self._line: deque[tuple[np.ndarray, bool]] = deque()
        self._asked: tuple[int, list[tuple[np.ndarray, bool]]] | None = None
        self._arrival = 0
        self.counts = dict.fromkeys(("plans", "late_plans", "hold_ticks", "delay"), 0)

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """See :class:`MPCAgent`; a plan asked for now is used later."""
        self._tracked()
        self.plan_async()
        spec = self.model.spec
        if self._step % spec.block == 0:
            self._remember(obs)
            if self._step >= self._arrival and self._step % (self.execute * spec.block) == 0:
                self._asked = self._step, list(self._line)
                if self._reckoned() == 0:
                    self.plan_async()
        action, planned = self._line.popleft() if self._line else (self._hold, False)
        self.counts["hold_ticks"] += not planned
        self._executed.append(action)
        self._step += 1
        return action.copy()

    def plan_async(self) -> None:
        """Make the plan that was asked for, if one was.

        A robot calls this once its action is sent, so that it thinks between two control steps;
        otherwise the next :meth:`act` does, which in a simulation is the same.
        """
        if self._asked is None:
            return
        (step, left), self._asked = self._asked, None
        reckoned = self._reckoned()
        # What is left of the old plan may be needed longer than reckoned.
        missing = self.horizon * self.model.spec.block - len(left)
        meanwhile = [*left, *[(self._hold, False)] * missing]
        low, high = self._bounds(np.array([action for action, _ in meanwhile[:reckoned]]))
        plan = self._plan(low, high, step).reshape(-1, len(self._hold))
        delay = self._delay_of(self.encode_s[-1] + self.plan_s[-1])
        line = [*meanwhile[:delay], *((action, True) for action in plan[delay:])]
        self._line = deque(line[self._step - step :])
        self._arrival = step + delay
        self.counts["plans"] += 1
        self.counts["late_plans"] += delay > reckoned
        self.counts["delay"] += delay

    def _reckoned(self) -> int:
        if self.delay is not None:
            return self.delay
        known = self._measured[WARM_UP:] or self._measured or [1]
        return min(math.ceil(np.percentile(known, 95)), self.horizon * self.model.spec.block - 1)

    def _delay_of(self, seconds: float) -> int:
        if self.delay is not None:
            return self.delay
        self._measured.append(max(1, math.ceil(seconds / self.model.spec.control_dt)))
        return self._measured[-1]

    def _bounds(self, committed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bounds ``[H, A]`` that leave the first actions ``[d, control_dim]`` no freedom."""
        bounds = []
        for bound in (self._low, self._high):
            rows = np.tile(bound, (self.horizon, 1)).reshape(-1, len(self._hold))
            rows[: len(committed)] = committed.reshape(-1, len(self._hold))
            bounds.append(rows.reshape(self.horizon, -1))
        return bounds[0], bounds[1]
