"""Goal images to order: edited scenes, scenes where only some things matter, recordings."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError, InputError
from sim import make
from sim.collection.collect import CollectConfig, Mix, collect
from sim.goal_images import goal_free_bodies, goal_from_pose, names, subgoals_from_demo
from sim.tasks import TASKS


@pytest.mark.parametrize(
    "task", [name for name, made in TASKS.items() if hasattr(made, "set_pose")]
)
def test_a_pose_that_was_seen_can_be_set(task):
    env = make(task)
    env.reset(seed=3)
    for _ in range(5):
        obs, *_, info = env.step(np.full(env.spec.control_dim, 0.1))
    settable = list(names(env.task))
    values = dict(zip(settable, info["pose"], strict=False))
    env.reset(seed=4)
    image, pose = goal_from_pose(env, values)
    np.testing.assert_allclose(pose[: len(settable)], info["pose"][: len(settable)], atol=1e-11)
    if env.model.nq <= len(settable):  # else it says too little of how the joints bend
        np.testing.assert_array_equal(image, obs["image"])
    with pytest.raises(ConfigError, match="elbow"):
        goal_from_pose(env, {"elbow": 1.0})
    env.close()


def test_one_entry_leaves_the_others_and_overlap_is_refused():
    env = make("push_t")
    _, info = env.reset(seed=3)
    _, pose = goal_from_pose(env, {"block_angle": 1.0})
    np.testing.assert_allclose(pose[[0, 1, 2, 3]], info["pose"][[0, 1, 2, 3]], atol=1e-12)
    assert pose[4] == pytest.approx(1.0)
    for bad in (
        {"pusher_x": pose[2] - 0.02 * np.sin(1.0), "pusher_y": pose[3] - 0.02 * np.cos(1.0)},
        {"block_x": 5.0},
        {"block_x": float("nan")},
    ):
        with pytest.raises(InputError, match="overlap"):
            goal_from_pose(env, bad)
    env.close()


def test_only_the_block_matters():
    env = make("push_t")
    obs, info = env.reset(seed=3)
    images = goal_free_bodies(env, ("block",), 4, np.random.default_rng(0))
    np.testing.assert_array_equal(images[0], obs["image"])
    np.testing.assert_array_equal(env.render(), obs["image"])
    np.testing.assert_array_equal(env.state(), info["state"])
    # Somewhere the pusher covers something; the block's middle is the same in all.
    assert len({image.tobytes() for image in images}) == 5
    column, row = (info["pose"][2:4] * 64 / 0.512).astype(int)
    slate = np.array([119, 136, 153])
    block = [(np.abs(image.astype(int) - slate).max(-1) < 12) for image in images]
    assert min(b.sum() for b in block) > 0.8 * max(b.sum() for b in block)
    assert (block[0] & block[1]).sum() > 0.7 * block[0].sum()
    assert 0 <= column < 64
    assert 0 <= row < 64
    for bad in ((), ("table",)):
        with pytest.raises(ConfigError, match="pusher"):
            goal_free_bodies(env, bad, 1, np.random.default_rng(0))
    env.close()


def test_pictures_of_a_recording(tmp_path):
    from robot_wm.data.formats.native import EpisodeStore

    config = CollectConfig(
        "two_room", "nominal", 1, 50, (Mix("random", 1.0),), episodes_per_shard=1, workers=1
    )
    store = EpisodeStore(collect(config, tmp_path / "data"))
    frames = np.asarray(store[0].frames)
    np.testing.assert_array_equal(subgoals_from_demo(store, 0), frames[-1:])
    np.testing.assert_array_equal(subgoals_from_demo(store, 0, every=4), frames[[4, 8, 10]])
    with pytest.raises(InputError, match="0 to 0"):
        subgoals_from_demo(store, 1)


def test_ordered_goals_of_a_pair(tmp_path):
    from types import SimpleNamespace

    from robot_wm.core.errors import DataError
    from robot_wm.data.formats.native import EpisodeStore
    from sim.goal_images import ALTERNATIVES, goals_for_pair

    mix = (Mix("random", 1.0),)
    config = CollectConfig("push_t", "nominal", 2, 50, mix, episodes_per_shard=1, workers=1)
    root = collect(config, tmp_path / "data")
    episode = EpisodeStore(root)[1]
    env = make("push_t")
    env.reset(options={"state": episode.states[30]})
    pair = SimpleNamespace(episode_id=1, start_step=10, goal_step=30)
    told = goals_for_pair(env, pair, 0, (), 1, str(root))
    np.testing.assert_array_equal(told["image"], episode.frames[6])
    np.testing.assert_array_equal(told["via"], episode.frames[[4]])
    many = goals_for_pair(env, pair, 0, ("block",), 0)
    assert many["image"].shape == (ALTERNATIVES + 1, 64, 64, 3)
    assert "via" not in many
    np.testing.assert_array_equal(
        many["image"], goals_for_pair(env, pair, 0, ("block",), 0)["image"]
    )
    pair.episode_id = 7
    with pytest.raises(DataError, match="no episode 7"):
        goals_for_pair(env, pair, 0, (), 1, str(root))
    env.close()
