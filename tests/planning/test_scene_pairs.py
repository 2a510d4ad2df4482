"""Pair lists of starts and goals that are drawn in the scene."""

from dataclasses import replace

import numpy as np
import pytest
from point_world import PointEnv

from planning.evaluation.goal_pairs import PairList
from planning.evaluation.sample_pairs import PairsConfig
from planning.evaluation.scene_pairs import scene_pair_lists
from robot_wm.core.errors import DataError

CONFIG = PairsConfig("strict", count=4, offset=0, budget=20)


def ends(number, rng):
    """Start on a line, the kinds of goals in turn; every second start is at its goal."""
    goal = np.array([float(number % 2), 1.0])
    start = goal + rng.integers(2) * np.array([0.0, 1.0])
    return (start, start), (goal, goal)


def lists(config=CONFIG, draw=ends, **rest):
    return scene_pair_lists(config, PointEnv(), "line", draw, **rest)


def test_lists_are_cuts_of_one_sequence_and_splits_are_other_draws():
    made = lists()
    assert sorted(made) == [0, 1, 42]
    numbers = [pair.episode_id for seed in (0, 1, 42) for pair in made[seed].pairs]
    assert numbers == list(range(12))
    assert [pair.pair_id for pair in made[1].pairs] == [f"d{n:06d}" for n in range(4, 8)]
    assert all(p.goal_pose == (p.episode_id % 2, 1.0) for p in made[42].pairs)
    assert made == lists()

    def anywhere(number, rng):
        place = rng.uniform(-1, 1, 2)
        return (place, place), (place + 1, place + 1)

    first = lists(draw=anywhere)[0].pairs
    for other in (replace(CONFIG, split="validation"), replace(CONFIG, seed=1)):
        assert lists(other, anywhere)[0].pairs != first


def test_solved_and_invalid_starts_are_drawn_again():
    asked = []

    def valid(state):
        asked.append(state)
        return state[0] == 0 or len(asked) > 5

    for pair in lists(valid=valid)[0].pairs:
        assert pair.start_pose == (pair.goal_pose[0], 2.0)
        assert pair.difficulty == {"x [m]": 0.0, "y [m]": 1.0}
        assert not any(pair.initial_success.values())
    assert len(asked) > 24
    with pytest.raises(DataError, match="no pair 0 of strict/point"):
        lists(draw=lambda number, rng: ((np.ones(2), np.ones(2)),) * 2)


def test_rows_and_files_are_named_after_the_errand(tmp_path):
    made = lists()[0]
    assert made.name == "point_line"
    assert (made.offset, made.collection) == (0, "line")
    made.save(tmp_path / "pairs.json")
    assert PairList.load(tmp_path / "pairs.json") == made
    other = scene_pair_lists(CONFIG, PointEnv(), "circle", ends)[0]
    assert other.dataset_sha256 != made.dataset_sha256
