"""A world model that looks into the mirror as well and takes the mean of what it sees.

What a learned model predicts of a scene and of its mirror image should agree and does not: their
mean has the smaller error. Averaging over a group of symmetries makes any model respect them
(frame averaging, Puny et al. 2022, arXiv:2110.03336). Every candidate is costed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from planning.agent.protocols import ChecksGoals, DetectsNovelty, Imagination
from robot_wm.core.protocols import History, Proposer, WorldModel
from robot_wm.core.symmetry import Mirror


@dataclass(frozen=True)
class Views:
    """The model's own states of a history and of its mirror image."""

    plain: Any
    mirrored: Any


@runtime_checkable
class Parallel(Protocol):
    """A model that works on several views at the same time."""

    def all_encode(self, histories: Sequence[History]) -> list[Any]:
        """``encode`` of each history."""
        ...

    def all_step_costs(self, jobs: Sequence[tuple[Any, Any, np.ndarray]]) -> list[np.ndarray]:
        """``step_costs`` of each state, goal and actions."""
        ...


class SymmetrizedModel:
    """A model and its mirror image (:class:`robot_wm.core.protocols.WorldModel`).

    Args:
        model: any model; what else it can do stays
            (:mod:`planning.agent.protocols`).
        mirror: of its scene.
    """

    def __init__(self, model: WorldModel[Any], mirror: Mirror) -> None:
        self.model, self.mirror, self.spec = model, mirror, model.spec
        if isinstance(model, DetectsNovelty):
            self.is_novel = model.is_novel
        if isinstance(model, ChecksGoals):
            self.check_goal = model.check_goal
        if isinstance(model, Imagination):
            self.nearest_frames = lambda state, actions: model.nearest_frames(state.plain, actions)

    def encode(self, history: History) -> Views:
        """Both states."""
        frames, actions = self.mirror.images(history.frames), self.mirror.actions(history.actions)
        reflected = replace(history, frames=frames, actions=actions)
        if isinstance(self.model, Parallel):
            return Views(*self.model.all_encode([history, reflected]))
        return Views(self.model.encode(history), self.model.encode(reflected))

    def step_costs(self, state: Views, goal: Views, actions: np.ndarray) -> np.ndarray:
        """Mean of both costs, float32 ``[N, H]``."""
        jobs = [
            (state.plain, goal.plain, actions),
            (state.mirrored, goal.mirrored, self.mirror.actions(actions)),
        ]
        if isinstance(self.model, Parallel):
            plain, seen = self.model.all_step_costs(jobs)
        else:
            plain, seen = (self.model.step_costs(*job) for job in jobs)
        return (plain + seen) / 2


class SymmetrizedProposer(SymmetrizedModel):
    """The same for a model with a learned actor: half of the plans come from the mirror."""

    def propose(self, state: Views, goal: Views, n: int, rng: np.random.Generator) -> np.ndarray:
        """``n`` plans, float32 ``[n, H, A]`` within bounds; the first is the model's own first."""
        model: Any = self.model
        plans = model.propose(state.plain, goal.plain, n - n // 2, rng)
        if n < 2:
            return np.asarray(plans, np.float32)
        seen = model.propose(state.mirrored, goal.mirrored, n // 2, rng)
        return np.concatenate([plans, self.mirror.actions(seen)])


def symmetrized(model: WorldModel[Any], mirror: Mirror | None) -> WorldModel[Any]:
    """The model with its mirror image, or as it is where the scene has none."""
    if mirror is None:
        return model
    return (SymmetrizedProposer if isinstance(model, Proposer) else SymmetrizedModel)(model, mirror)
