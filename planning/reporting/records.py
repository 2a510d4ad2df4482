"""What is kept of an episode for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from planning.evaluation.goal_pairs import Pair
from planning.evaluation.results import EpisodeResult


@dataclass(frozen=True)
class Measurement:
    """What one criterion measured along an episode: privileged, unseen by the agent.

    Attributes:
        name: what was measured; unit: ``m``, ``rad``, or that of a pose entry.
        limit: the goal is met below it; None if the scene tells no limit.
        errors: at every frame ``[T+1]``, in ``unit``.
    """

    name: str
    unit: str
    limit: float | None
    errors: np.ndarray


@dataclass(frozen=True)
class PlanView:
    """One plan, reduced to what is drawn. ``S = H * block`` control steps, ``C`` control_dim.

    Attributes:
        step: control step at which it was made.
        step_costs: predicted costs along the plan ``[H]``, one per block.
        costs: of some candidates ``[M]``, rising.
        candidates: where the robot would truly go in the picture with each of them
            ``[M, S+1, 2]``, see ``Pictured`` of the recorder; None if the scene cannot
        chosen: the same of everything that is followed, under the chosen plan ``[S+1, 2]``.
        landscape: cost of the whole plan with its first block shifted to a mean action on a grid
            over the bounds of the first two action entries ``[G, G]``; None below two entries.
        first_mean: mean control action of the first block ``[C]``.
        low, high: bounds of a control action ``[C]``.
        imagined: training frames nearest to what the model imagines, uint8
            ``[H, height, width, 3]``; None if it cannot show any.
    """

    step: int
    step_costs: np.ndarray
    costs: np.ndarray
    candidates: np.ndarray | None
    chosen: Mapping[str, np.ndarray]
    landscape: np.ndarray | None
    first_mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    imagined: np.ndarray | None


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode, ready to be drawn.

    Attributes:
        family: the predicate that decides ``success``.
        frames: what the camera saw at every control step, start included, uint8
            ``[height, width, 3]``.
        start, goal, end: uint8 ``[height, width, 3]``, drawn larger than ``frames`` where there was
            a scene that could.
        dt: seconds between two frames [s]; block: control steps per model step.
        measured: what success depends on, one or more.
        energy: the model's cost at every frame ``[T+1]``, one imagined step ahead when standing
            still: how far from the goal it believes to be; None for agents without a model.
        trails: where everything that is followed went in the picture ``[T+1, 2]``.
        why: why the goal was missed, in words; empty where nobody asked.
    """

    pair: Pair
    method: str
    family: str
    result: EpisodeResult
    frames: list[np.ndarray]
    start: np.ndarray
    goal: np.ndarray
    end: np.ndarray
    dt: float
    block: int
    measured: tuple[Measurement, ...]
    energy: np.ndarray | None = None
    trails: Mapping[str, np.ndarray] = field(default_factory=dict)
    plans: list[PlanView] = field(default_factory=list)
    why: str = ""

    @property
    def hit(self) -> int | None:
        """Control steps until success, None if it failed."""
        return self.result.first_hit(self.family)
