"""Pair lists of starts and goals that are drawn in the scene (``pairs.offset=0``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from planning.evaluation.goal_pairs import (
    SCHEMA,
    Pair,
    PairList,
    pose_change,
    solved_standing,
)
from planning.evaluation.sample_pairs import PairsConfig, Valid
from robot_wm.core.errors import DataError
from robot_wm.core.protocols import Environment
from robot_wm.core.storage.provenance import sha256_of

End = tuple[np.ndarray, np.ndarray]
"""Full physics state ``[S]`` and pose ``[K]``."""
DrawEnds = Callable[[int, np.random.Generator], tuple[End, End]]
"""Start and goal of the pair of a number."""
RULE = "drawn-v1: start and goal by the task's own rule, by pair number; splits differ by seed"
TRIES = 1_000  # draws of a pair until one will do


def rule_sha256(task: str, errand: str) -> str:
    """What stands in for the hash of a data set: that of the rule by which pairs are drawn."""
    return sha256_of(f"{task}: {RULE}: {errand}")


def scene_pair_lists(
    config: PairsConfig, env: Environment, errand: str, draw: DrawEnds, valid: Valid | None = None
) -> dict[int, PairList]:
    """One list per evaluation seed, consecutive cuts of one sequence of draws.

    Starts that are solved already are drawn again. No recorded episode has any part in them, so a
    split is nothing but other draws.

    Args:
        env: the scene, for its predicates and its pose.
        errand: the task's name for such pairs.
        valid: asked of starts and goals.

    Raises:
        DataError: no pair of a kind in :data:`TRIES` draws.
    """
    task = env.spec.task
    key = f"{SCHEMA}:{config.family}:{task}:{errand}:{config.split}:{config.seed}"
    rng = np.random.default_rng(int(sha256_of(key)[:16], 16))
    found = [
        _pair(config, env, number, draw, valid, rng)
        for number in range(config.count * len(config.eval_seeds))
    ]
    empty = PairList(
        SCHEMA, config.family, task, errand, rule_sha256(task, errand), config.split,
        f"{RULE}: {errand}", config.offset, config.budget, 0, (), config.seed,
    )  # fmt: skip
    cuts = [found[i : i + config.count] for i in range(0, len(found), config.count)]
    seeds = sorted(config.eval_seeds)
    return {
        seed: replace(empty, eval_seed=seed, pairs=tuple(cut))
        for seed, cut in zip(seeds, cuts, strict=True)
    }


def _pair(
    config: PairsConfig, env: Environment, number: int, draw: DrawEnds, valid: Valid | None,
    rng: np.random.Generator,
) -> Pair:  # fmt: skip
    for _ in range(TRIES):
        (state, pose), (goal_state, goal_pose) = draw(number, rng)
        allowed = valid is None or (valid(state) and valid(goal_state))
        if allowed and not solved_standing(env.success, config.predicate, pose, goal_pose):
            break
    else:
        raise DataError(
            f"no pair {number} of {config.family}/{env.spec.task} in {TRIES} draws",
            "a start that is not solved, valid under every level where the family asks it",
            "choose another family",
        )
    return Pair(
        pair_id=f"d{number:06d}",
        episode_id=number,
        start_step=0,
        goal_step=0,
        start_state=tuple(state.tolist()),
        goal_state=tuple(goal_state.tolist()),
        start_pose=tuple(pose.tolist()),
        goal_pose=tuple(goal_pose.tolist()),
        factors={},
        difficulty=pose_change(env.spec.pose, pose, goal_pose),
        initial_success={
            family: solved_standing(env.success, family, pose, goal_pose)
            for family in env.spec.families
        },
    )
