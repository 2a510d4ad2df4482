"""An agent's own episodes: recorded as they happened, resumable, never of held-out pairs."""

from dataclasses import replace

import numpy as np
import pytest
from point_world import SPEED, PointEnv, make_drift, point_store

from planning.evaluation.rollout_collection import PracticeConfig, collect_rollouts
from planning.evaluation.sample_pairs import PairsConfig, make_pair_lists
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.instantiate import deferred
from robot_wm.data.episodes import COLUMNS
from robot_wm.data.formats.native import EpisodeStore
from robot_wm.data.shards import shard_path

CONFIG = PracticeConfig(episodes=6, noise=(0.0, 0.5), episodes_per_shard=4, seed=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    store = point_store(tmp_path_factory.mktemp("points"))
    config = PairsConfig(count=6, offset=10, budget=15, eval_seeds=(0,), split="train")
    return store.schema, make_pair_lists(config, store, PointEnv().success, ("official",))[0]


def record(source, root, config=CONFIG, about=None, workers=1):
    schema, pairs = source
    config = replace(config, workers=workers)
    makers = deferred("point_world.PointEnv"), deferred("point_world.make_drift")
    return EpisodeStore(
        collect_rollouts(config, pairs, schema, "practice1", about or {}, root, *makers),
        verify=True,
    )


def test_episodes_hold_what_happened(source, tmp_path):
    store, pairs = record(source, tmp_path / "a"), source[1].pairs
    assert (len(store), store.schema.collection) == (6, "practice1")
    levels = set()
    for episode, pair in zip(store, pairs, strict=True):
        assert (len(episode), len(episode.frames)) == (15, 4)
        np.testing.assert_array_equal(episode.states[0], pair.start_state)
        moved = np.diff(episode.states, axis=0)
        np.testing.assert_allclose(moved, SPEED * episode.actions, atol=1e-6)
        wanted = make_drift(None)
        wanted.reset({"proprio": np.zeros(0)}, episode.meta["seed"])
        planned = np.stack([wanted.act({"proprio": np.zeros(0)}) for _ in range(15)])
        noise = episode.meta["noise"]
        levels.add(noise)
        assert (np.abs(episode.actions - planned).max() > 0.1) == (noise > 0)
        assert np.abs(episode.actions).max() <= 1
    assert levels == {0.0, 0.5}


def test_an_interrupted_practice_ends_with_the_same_bytes(source, tmp_path):
    whole = record(source, tmp_path / "a")
    root = tmp_path / "b"
    record(source, root, workers=2)
    for path in shard_path(root, 1).iterdir():
        path.unlink()
    shard_path(root, 1).rmdir()
    again = record(source, root)
    assert again.sha256 == whole.sha256
    for a, b in zip(whole, again, strict=True):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_another_agent_and_held_out_pairs_are_refused(source, tmp_path):
    record(source, tmp_path / "a", about={"world_model": "1"})
    with pytest.raises(DataError, match="config"):
        record(source, tmp_path / "a", about={"world_model": "2"})
    schema, pairs = source
    with pytest.raises(ConfigError, match="test split"):
        record((schema, replace(pairs, split="test")), tmp_path / "c")
    with pytest.raises(ConfigError, match="6 pairs"):
        record(source, tmp_path / "c", config=replace(CONFIG, episodes=5))
    with pytest.raises(ConfigError, match="noise"):
        PracticeConfig(noise=(-1.0,))
