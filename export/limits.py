"""What a controller enforces, whatever is planned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_wm.errors import ConfigError


@dataclass(frozen=True)
class Workspace:
    """A box that the robot's target must not leave.

    Attributes:
        low, high: its corners [m], one number for each entry of the action.
        reach: how far from the robot a full command sets its target [m].

    Raises:
        ConfigError: a box without inside, or a reach that is not positive.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    reach: float

    def __post_init__(self) -> None:
        paired = len(self.low) == len(self.high)
        if not (paired and (np.asarray(self.low) < self.high).all() and self.reach > 0):
            raise ConfigError(
                f"a workspace from {self.low} to {self.high}, reach {self.reach}",
                "low below high in every entry, a reach above 0",
                "correct the workspace",
            )

    def confine(self, action: np.ndarray, position: np.ndarray, hold: np.ndarray) -> np.ndarray:
        """The action whose target lies in the box; to hold is allowed anywhere.

        A robot outside is not driven back by itself, but neither any further out.
        """
        low, high = ((np.asarray(c) - position) / self.reach for c in (self.low, self.high))
        return np.clip(action, np.minimum(low, hold), np.maximum(high, hold))


@dataclass(frozen=True)
class Limits:
    """What the controller enforces.

    Attributes:
        max_change: largest change of an action's entry between two control steps; two at least
            would switch a bound to its opposite at once.
        hold: the action that does nothing, ``control_dim`` numbers.
        stale: oldest frame to plan from [s].
        late: longest time a plan may take [s]; later plans are not used.
        jump: largest step of the clock between two ticks, either way, in control periods.
        frozen: as many equal frames at successive plans, while moving, mean a dead camera.
        patience: faulty plans in a row after which it stops until :meth:`Controller.start`.
        workspace: see :class:`Workspace`; it comes before ``max_change``. Frames must then say
            where the robot is.

    Raises:
        ConfigError: a limit that is not positive.
    """

    max_change: float
    hold: tuple[float, ...]
    stale: float
    late: float
    jump: float = 5.0
    frozen: int = 4
    patience: int = 5
    workspace: Workspace | None = None

    def __post_init__(self) -> None:
        for name in ("max_change", "stale", "late", "jump", "frozen", "patience"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} = {getattr(self, name)}", "above 0", "raise the limit")
