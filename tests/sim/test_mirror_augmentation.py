"""The mirror image of a collection: what the simulator itself would have recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from robot_wm.data.formats.native import EpisodeStore
from sim import make
from sim.collection.collect import CollectConfig, Mix, collect
from sim.collection.mirror import mirror
from sim.tasks import TASKS


def recorded(root: Path, task: str, **more: object) -> Path:
    mix = (Mix("random", 0.5), Mix("expert", 0.5))
    config = CollectConfig(task, "nominal", 4, 40, mix, episodes_per_shard=2, workers=1, **more)  # type: ignore[arg-type]
    return collect(config, root)


@pytest.mark.parametrize("task", [name for name, made in TASKS.items() if made.mirror])
def test_mirrored_episodes_happen_and_look_so_in_the_simulator(tmp_path: Path, task: str) -> None:
    source = EpisodeStore(recorded(tmp_path / "a", task))
    found = EpisodeStore(mirror(source.root, tmp_path / "b"), verify=True)
    env, moved, errors = make(task), 0.0, []
    for episode in found:
        for step, action in enumerate(episode.actions):
            # Step by step: contact makes two runs of one law drift apart.
            obs, _ = env.reset(options={"state": episode.states[step]})
            if step % 5 == 0:
                apart = np.abs(obs["image"].astype(int) - episode.frames[step // 5].astype(int))
                assert apart.mean() < 1.0
                assert (apart > 40).mean() < 0.02
            *_, info = env.step(action)
            errors.append(np.abs(info["pose"] - episode.poses[step + 1]).max())
        moved = max(moved, float(np.ptp(episode.poses[:, 0])))
    assert moved > 0.02
    assert np.median(errors) < 1e-6
    assert np.quantile(errors, 0.95) < 5e-3
    env.close()


def test_mirrored_episodes_keep_number_and_split(tmp_path: Path) -> None:
    source = EpisodeStore(recorded(tmp_path / "a", "push_t"))
    found = EpisodeStore(mirror(source.root, tmp_path / "b"))
    assert [e.id for e in found] == [e.id for e in source]
    for split in ("train", "validation", "test"):
        assert found.indices(split) == source.indices(split)
    assert found.sha256 != source.sha256
    twice = EpisodeStore(mirror(found.root, tmp_path / "c"))
    for once, again in zip(source, twice, strict=True):
        np.testing.assert_array_equal(once.frames, again.frames)
        np.testing.assert_array_equal(once.actions, again.actions)
        np.testing.assert_allclose(once.poses, again.poses, atol=1e-12)


def test_mirroring_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a", "push_t")
    whole = EpisodeStore(mirror(source, tmp_path / "b")).sha256
    shard = tmp_path / "b" / "shard-00001"
    for path in shard.iterdir():
        path.unlink()
    shard.rmdir()
    assert EpisodeStore(mirror(source, tmp_path / "b")).sha256 == whole


def test_scenes_without_a_mirror_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two_room"):
        mirror(recorded(tmp_path / "a", "two_room"), tmp_path / "b")
    varied = recorded(tmp_path / "c", "push_t", variation=("agent_color",))
    with pytest.raises(ConfigError, match="4 varied"):
        mirror(varied, tmp_path / "d")
