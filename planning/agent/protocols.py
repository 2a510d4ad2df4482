"""What agents, and models they plan with, can do beyond their contract: asked of the object itself.

The contract is in :mod:`robot_wm.core.protocols`, ``Proposer`` with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from planning.agent.restoring.camera import View
from robot_wm.core.protocols import Agent, History
from robot_wm.core.symmetry import Mirror


@runtime_checkable
class Imagination(Protocol):
    """A world model that shows what it imagines, as frames it once saw."""

    def nearest_frames(self, state: Any, actions: np.ndarray) -> np.ndarray:
        """Training frames nearest to the imagined latents, uint8 ``[H, height, width, 3]``.

        Args:
            state: a result of ``encode``.
            actions: float32 ``[H, A]``, task unit.
        """
        ...


@runtime_checkable
class DetectsNovelty(Protocol):
    """A world model that knows an image unlike everything it learned from."""

    is_novel: Callable[[np.ndarray], bool]
    """Whether one image uint8 ``[H, W, 3]`` is unlike everything seen."""


@runtime_checkable
class ChecksGoals(Protocol):
    """A world model that refuses goal images that cannot be of its scene."""

    check_goal: Callable[[np.ndarray], None]
    """Raises ``InputError`` for such an image uint8 ``[H, W, 3]``."""


@runtime_checkable
class RestoresPictures(Protocol):
    """An agent that sees pictures of another camera, or of other colours, as recorded."""

    view: View
    """Of this episode."""

    def view_of(self, images: np.ndarray) -> View:
        """What a goal's images uint8 ``[K, H, W, 3]`` would make it."""
        ...


@runtime_checkable
class SupportsMirror(Protocol):
    """A world model that judges every candidate in the scene's mirror image, too."""

    mirror: Mirror


@runtime_checkable
class AgentDiagnostics(Protocol):
    """An agent that tells, of this episode, how long each perception and each plan took [s]."""

    encode_s: list[float]
    plan_s: list[float]


@runtime_checkable
class CountsEvents(Protocol):
    """An agent that counts what happens to it in an episode, by name."""

    counts: dict[str, int]


@dataclass(frozen=True)
class PlanRecord:
    """What one plan saw, weighed and chose (for reports).

    Attributes:
        step: control step at which it was made.
        history: the real frames and executed actions it was made from.
        state: the model's own state of that history, opaque.
        actions: ``[H, A]``, the plan.
        candidates, candidate_costs: ``[N, H, A]`` and ``[N]`` of the last iteration.
        step_costs: ``[H]``, the model's costs along the plan.
        encode_s, plan_s: time to encode the history; to propose and optimise [s].
    """

    step: int
    history: History
    state: Any
    actions: np.ndarray
    candidates: np.ndarray
    candidate_costs: np.ndarray
    step_costs: np.ndarray
    encode_s: float
    plan_s: float


@runtime_checkable
class KeepsRecords(Protocol):
    """An agent that keeps a record of every plan of an episode, once ``record`` is set."""

    record: bool
    records: list[PlanRecord]


@runtime_checkable
class ThinksAhead(Protocol):
    """An agent that plans between two control steps."""

    def plan_async(self) -> None:
        """Make the plan that was asked for, if one was."""
        ...


@runtime_checkable
class WrapsAgent(Protocol):
    """An agent around another one, which does the planning."""

    agent: Agent


def innermost(agent: Any) -> Any:
    """The agent that plans, inside whatever is wrapped around it."""
    while isinstance(agent, WrapsAgent):
        agent = agent.agent
    return agent
