"""What the evaluator is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np

from planning.evaluation.goal_pairs import Pair
from robot_wm.core.config import Natural, Seed, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import Agent, Environment, EnvSpec
from robot_wm.core.storage.atomic_io import check_name


@dataclass(frozen=True)
class EvaluateSettings:
    """Which episodes are run.

    Attributes:
        seeds: evaluation seeds, one pair list each.
        limit: run only the first pairs of a list; 0 runs all.
        factors: factors of variation set to these values, e.g. ``{camera_yaw: 5.0}``.
        families: further success predicates to score on the same episodes, e.g.
            ``[moderate, strict]``; the pair list's own stays the result.
        clock: whether the world moves on while the planner thinks: empty (it waits), ``d3`` (a plan
            takes three control steps) or ``measured``; rows are then named ``clock/task/d3``.
        modifiers: appended to the row name, e.g. ``[rest]``.
        rows: first part of the row's and its file's name; empty takes the pair list's family.
        only: bodies that matter, e.g. ``[block]``: the goal is then pictures in which these are
            where they should be and all others anywhere, any of which will do.
        via: pictures of the recording between start and goal that are to be passed on the way, or
            ``demo``: key frames of a demonstration from elsewhere (:mod:`sim.demonstrations`), with
            rows of the same planner without any beside.
        words: tell the goal in a sentence and score what it says, with rows of the same planner
            that is shown the picture beside; of pairs of whose start the sentence is not true.
        validation: validation episodes run at every ``train.eval_every``; 0 runs none.
    """

    seeds: tuple[Seed, ...] = (0,)
    limit: Natural = 0
    factors: dict[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    clock: str = ""
    modifiers: tuple[str, ...] = ()
    rows: str = ""
    only: tuple[str, ...] = ()
    via: Annotated[int, Within(0, 100)] | Literal["demo"] = 0
    words: bool = False
    validation: Natural = 20

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError("evaluate.seeds = []", "one seed or more", "name one of the lists'")
        if self.words and (self.only or self.via or self.clock):
            raise ConfigError(
                "evaluate.words with evaluate.only, via or clock", "goals told in one manner",
                "leave the others out",
            )  # fmt: skip
        if self.rows:
            check_name(self.rows, "evaluate.rows")
        for name in self.modifiers:
            check_name(name, "evaluate.modifiers")


@dataclass(frozen=True)
class ZeroShotSettings:
    """Which rows ``pairs.family=zs`` runs, beside the unperturbed one.

    Attributes:
        only: factors, single levels, or all at once, e.g. ``[agent_color, light:0.5, all]``; empty
            runs every held-out level of every factor, ``all`` and ``all_dyn``.
    """

    only: tuple[str, ...] = ()


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
        by_pair: the same for single pairs by id; goes before ``factors``.
        seeded_as: row whose name seeds the episodes, so that several rows share their chance; empty
            takes ``row``.
        overlay: noise over everything that the agent sees, see
            :mod:`planning.evaluation.overlays`; empty for none.
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
    by_pair: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seeded_as: str = ""
    overlay: str = ""
