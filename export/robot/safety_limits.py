"""What a controller enforces, whatever is planned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_wm.core.config import Count, Positive, check_fields
from robot_wm.core.errors import ConfigError


@dataclass(frozen=True)
class Workspace:
    """A box that the robot's target must not leave.

    Attributes:
        low, high: its corners [m], one number for each entry of the action.
        reach: how far from the robot a full command sets its target [m]: one number, or one for
            each entry. Entries that move nothing in space (a turn, a gripper) have their own unit.

    Raises:
        ConfigError: a box without inside, or numbers that are not finite.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    reach: Positive | tuple[Positive, ...]

    def __post_init__(self) -> None:
        check_fields(self, "workspace")
        paired = len(self.low) == len(self.high) > 0
        fits = np.shape(self.reach) in ((), np.shape(self.low))
        if not (paired and fits and (np.asarray(self.low) < self.high).all()):
            raise ConfigError(
                f"a workspace from {self.low} to {self.high}, reach {self.reach}",
                "low below high in every entry, as many entries as the action has, reach one "
                "number or as many",
                "correct the workspace",
            )

    def bounds(
        self, low: np.ndarray, high: np.ndarray, noop_action: np.ndarray, step: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest action ``[A]`` from which the robot can still stop inside.

        A command may be large far from a wall and must be small near it, since the rate limit
        ``step`` lets it shrink only so fast: what it still moves while braking counts as well. To
        hold is allowed anywhere: a robot outside is not driven back by itself, nor further out.

        Args:
            low, high: corners between which the robot is [m].
        """
        with np.errstate(over="ignore"):  # a robot at the end of the world
            below = (low - np.asarray(self.low)) / np.asarray(self.reach)
            above = (np.asarray(self.high) - high) / np.asarray(self.reach)
        return np.minimum(noop_action, -braking(below, step)), np.maximum(
            noop_action, braking(above, step)
        )


FAR = 1e9  # any farther a wall is no nearer: keeps the arithmetic finite


def braking(distance: np.ndarray, step: float) -> np.ndarray:
    """Largest speed from which one stops within a distance; speed shrinks by ``step`` at a time.

    The largest ``v`` with ``v + (v - step) + (v - 2 step) + … <= distance``, as long as the terms
    are positive; both in units of the speed. With ``n`` terms that is
    ``v = distance / n + step (n - 1) / 2``.
    """
    room = np.clip(np.asarray(distance, np.float64), 0.0, FAR)
    terms = np.maximum(1.0, np.ceil((np.sqrt(1.0 + 8.0 * room / step) - 1.0) / 2.0))
    speed: np.ndarray = room / terms + step * (terms - 1.0) / 2.0
    return speed


@dataclass(frozen=True)
class Limits:
    """What the controller enforces.

    Attributes:
        max_change: largest change of an action's entry between two control steps; two at least
            would switch a bound to its opposite at once.
        noop_action: the action that does nothing, ``control_dim`` numbers.
        max_frame_age_s: oldest frame to plan from [s].
        max_plan_time_s: longest time a plan may take [s]; later plans are not used.
        jump: largest step of the clock between two ticks, in control periods.
        frozen: as many equal frames at successive plans, while moving, mean a dead camera.
        patience: faulty plans in a row after which it stops until :meth:`Controller.start`.
        workspace: see :class:`Workspace`. Frames must then say where the robot is.
        pace: largest distance between ticks, in control periods, of the last five the mean without
            the longest and the shortest; its inverse is the smallest.

    Raises:
        ConfigError: a limit that is not positive and finite.
    """

    max_change: Positive
    noop_action: tuple[float, ...]
    max_frame_age_s: Positive
    max_plan_time_s: Positive
    jump: Positive = 5.0
    frozen: Count = 4
    patience: Count = 5
    workspace: Workspace | None = None
    pace: Positive = 1.5

    def __post_init__(self) -> None:
        check_fields(self, "limits")
        if self.pace <= 1:
            raise ConfigError(f"limits.pace = {self.pace}", "above 1", "raise the limit")

    def hold_within(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The hold action, float32 ``[control_dim]``, of a robot with these bounds.

        Raises:
            ConfigError: another number of entries, also of the workspace, or out of bounds.
        """
        noop_action, dim, space = np.asarray(self.noop_action, np.float32), len(low), self.workspace
        if noop_action.shape != (dim,) or not bool(
            (noop_action >= low).all() and (noop_action <= high).all()
        ):
            raise ConfigError(
                f"noop_action {self.noop_action}", f"{dim} numbers within the bounds", "correct it"
            )
        if space is not None and len(space.low) != dim:
            raise ConfigError(
                f"a workspace of {len(space.low)} entries", f"{dim}, one for each of the action's",
                "correct it",
            )  # fmt: skip
        return noop_action
