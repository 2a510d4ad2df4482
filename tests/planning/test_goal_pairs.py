import hashlib
import json

import numpy as np
import pytest
from point_world import PointEnv, point_store

from planning.evaluation.goal_pairs import PairList, pose_change, solved_standing
from planning.evaluation.sample_pairs import PairsConfig, calibration, make_pair_lists
from robot_wm.core.errors import DataError
from robot_wm.core.poses import entries
from robot_wm.data.episodes import split_of

SUCCESS = PointEnv().success
FAMILIES = ("official", "moderate", "strict")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return point_store(tmp_path_factory.mktemp("points"), episodes=400, still=40)


def lists(store, family="strict", count=8, **rest):
    config = PairsConfig(family, count=count, offset=10, budget=20)
    return make_pair_lists(config, store, SUCCESS, FAMILIES, **rest)


@pytest.mark.parametrize("family", FAMILIES)
def test_lists_are_disjoint_held_out_and_repeatable(store, family):
    made = lists(store, family)
    assert sorted(made) == [0, 1, 42]
    ids = [p.pair_id for one in made.values() for p in one.pairs]
    assert len(ids) == len(set(ids)) == 24
    for p in made[42].pairs:
        assert split_of("point", "std", p.episode_id) == "test"
        assert p.goal_step == p.start_step + 10 <= 20
        assert p.start_step % 5 == 0
        np.testing.assert_array_equal(p.goal_state, store[p.episode_id].states[p.goal_step])
    assert made == lists(store, family)
    if family != "official":
        episodes = [p.episode_id for one in made.values() for p in one.pairs]
        assert len(set(episodes)) == 24


def test_strict_excludes_solved_starts_and_official_keeps_them(store):
    assert not any(p.initial_success["strict"] for p in lists(store)[0].pairs)
    # Every pair of the test split, so the still episodes must be among them.
    rows = calibration(store, SUCCESS, FAMILIES, offset=10)["pairs"]
    config = PairsConfig("official", count=rows, offset=10, eval_seeds=(0,))
    every = make_pair_lists(config, store, SUCCESS, FAMILIES)[0].pairs
    assert any(p.initial_success["strict"] for p in every)


def test_standing_longer_than_any_hold_counts_as_solved():
    near, far = np.array([0.03, 0.0]), np.array([0.07, 0.0])
    assert solved_standing(SUCCESS, "strict", near, np.zeros(2))
    assert not solved_standing(SUCCESS, "strict", far, np.zeros(2))
    assert solved_standing(SUCCESS, "moderate", far, np.zeros(2))


def test_extra_rule_and_exclusion(store):
    made = lists(store, count=3, eligible=lambda start, goal, between: goal[0] > start[0])
    assert all(p.goal_pose[0] > p.start_pose[0] for one in made.values() for p in one.pairs)
    first = {p.pair_id for one in made.values() for p in one.pairs}
    again = lists(store, count=3, exclude=first)
    episodes = {name.split("_")[0] for name in first}
    assert not episodes & {p.pair_id.split("_")[0] for o in again.values() for p in o.pairs}


def test_too_few_pairs_says_how_many_to_collect(store):
    # Walks are straight, so every start of an episode is as far from its goal.
    walks = [store[i].poses for i in store.indices("test")]
    found = sum(np.linalg.norm(walk[10] - walk[0]) >= 0.05 for walk in walks)
    with pytest.raises(DataError) as caught:
        lists(store, count=100)
    more = -(-(300 - found) * 400 // found)
    assert f"{found} eligible" in str(caught.value)
    assert f"about {more} more" in str(caught.value)


def test_file_hash_is_the_identity_and_survives_a_trip(store, tmp_path):
    made = lists(store)[1]
    path = tmp_path / "pairs.json"
    made.save(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256
    assert PairList.load(path) == made
    assert PairList.load(path).sha256 == made.sha256


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: v.update(extra=1),
        lambda v: v.pop("budget"),
        lambda v: v["pairs"][0].pop("factors"),
        lambda v: v["pairs"].append(v["pairs"][0]),
        lambda v: v["pairs"][0].update(goal_step=1),
        lambda v: v["pairs"][0].update(start_state=[None]),
        lambda v: v.update(schema="pairs-v0"),
    ],
)
def test_damaged_files_are_refused(store, tmp_path, damage):
    value = json.loads(lists(store)[0].text)
    damage(value)
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError):
        PairList.load(path)


def test_pose_change_takes_the_short_way_round_for_angles():
    got = pose_change(
        entries(("x [m]", "T angle [rad]")), np.array([1.0, 0.1]), np.array([-1.0, 6.2])
    )
    assert got["x [m]"] == 2.0
    assert got["T angle [rad]"] == pytest.approx(2 * np.pi - 6.1)


def test_calibration_counts_by_hand(store):
    got = calibration(store, SUCCESS, FAMILIES, offset=10)
    indices = store.indices("test")
    assert got["pairs"] == 3 * len(indices)  # starts 0, 5, 10 of 20 steps
    gaps = [np.linalg.norm(store[i].poses[10] - store[i].poses[0]) for i in indices]
    assert got["solved"]["strict"] == pytest.approx(np.mean(np.array(gaps) < 0.05))
    assert got["solved"]["official"] == pytest.approx(np.mean(np.array(gaps) < 0.1))
