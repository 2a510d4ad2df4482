"""What the evaluator is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planning.evaluation.goal_pairs import Pair
from robot_wm.core.protocols import Agent, Environment, EnvSpec

MakeEnv = Callable[[], Environment]


MakeAgent = Callable[[EnvSpec], Agent]


MakeGoal = Callable[[Environment, Pair, int], Mapping[str, np.ndarray]]
"""Called with the scene at the goal, the pair and a seed: entries of the goal observation."""


@dataclass(frozen=True)
class EvaluateConfig:
    """One row of results, before it is run.

    Attributes:
        row: ``family/task[/factor:level][@modifier]``; ``@rest`` zeroes start velocities.
        method: name of the agent in tables.
        train_seed: seed the model was trained with; None for untrained agents.
        families: predicates to score; empty means the pair list's own. The first is *the* result:
            whatever else is scored, its numbers are those of an episode that ends at its success.
        inputs: ``pixels``, ``pixels+proprio``, or ``state`` for privileged reference agents.
        workers: processes; 1 runs in this one.
        stop_on_success: count an episode up to the first success; false runs the whole budget.
            Where further families are scored, the scene itself runs on until all are satisfied.
        factors: values that replace the recorded ones in start, rollout and goal image alike.
        goal: makes other goal pictures than the one of the pair's goal (``MPCAgent.reset``); with
            several workers a recipe (:func:`robot_wm.core.instantiate.deferred`).
    """

    row: str
    method: str
    train_seed: int | None = None
    families: tuple[str, ...] = ()
    inputs: str = "pixels"
    workers: int = 1
    stop_on_success: bool = True
    factors: Mapping[str, Any] = field(default_factory=dict)
    goal: MakeGoal | None = None
