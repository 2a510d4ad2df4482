"""What only some tasks can do, asked of the task where it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.symmetry import Mirror
from sim.tasks.base import Task


@runtime_checkable
class Posable(Protocol):
    """A task whose scene can be brought into a pose (``set_pose``)."""

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """Bring the joints into a pose ``[K]``, at rest: the inverse of ``pose``."""
        ...


@runtime_checkable
class Reflects(Protocol):
    """A task whose scene has a mirror image (``mirror`` and ``reflect``)."""

    mirror: ClassVar[Mirror | None]

    def reflect(self, data: mujoco.MjData) -> None:
        """Put the physics state into its mirror image."""
        ...


@runtime_checkable
class DrawsPairs(Protocol):
    """A task with starts and goals of its own (``errand``, ``sample_pair``).

    Attributes:
        errand: what they are called in rows, e.g. ``pick_place``.
    """

    errand: ClassVar[str]

    def sample_pair(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Poses ``[K]`` of start and goal, at rest; errands of several kinds take turns."""
        ...


@dataclass(frozen=True)
class Published:
    """What others measured in the scene that a task re-creates [%].

    Attributes:
        solved: starts that are goals already, by the official and the strict predicate.
        random: success of random actions, by the official, moderate and strict predicate.
        oracle: success of planning on the true simulator, official; a lower bound.
    """

    solved: tuple[float, float]
    random: tuple[float, float, float]
    oracle: float


@runtime_checkable
class Calibrated(Protocol):
    """A task with published numbers (``published``)."""

    published: ClassVar[Published]


Ability = TypeVar("Ability")


def able(task: Task, ability: type[Ability], what_for: str) -> Ability:
    """The task, as one that has an optional ability.

    Args:
        ability: a protocol of this module.
        what_for: what needs it, e.g. ``robot-wm calibrate``.

    Raises:
        ConfigError: the task has no such ability.
    """
    if isinstance(task, ability):
        return task
    words = (ability.__doc__ or ability.__name__).strip().rstrip(".")
    raise ConfigError(
        f"task {task.name} lacks what {what_for} needs", words[0].lower() + words[1:],
        "add it to the task, see sim/tasks/base.py, or choose another task",
    )  # fmt: skip
