import errno
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError, DataError, StorageError
from robot_wm.core.storage.provenance import read_json
from robot_wm.data.episodes import COLUMNS
from robot_wm.data.formats.native import EpisodeStore
from sim.collection import collect as room
from sim.collection.collect import CollectConfig, Mix, collect
from sim.env import GoalEnv


def contents(root):
    """Every byte that does not tell the time: columns, records and hashes."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name == "manifest.json":
            found[str(path.relative_to(root))] = read_json(path)["sha256"]
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def test_data_set_is_what_was_asked_for(tiny, tiny_config):
    store = EpisodeStore(tiny, verify=True)
    assert [e.id for e in store] == list(range(6))
    assert sorted(p.name for p in tiny.iterdir()) == [
        "card.md", "dataset.json", "shard-00000", "shard-00001", "shard-00002",
    ]  # fmt: skip
    for e in store:
        assert len(e) == 10
        assert e.frames.shape == (3, 16, 16, 3)
        assert set(e.meta["factors"]) == {"agent_color", "mass"}
        assert e.meta["policy"] in ("expert", "weak")
        assert e.meta["noise"] in (0.0, 0.3)
        assert len(np.unique(e.frames)) > 5
    assert len({e.meta["factors"]["mass"] for e in store}) == 6
    card = (tiny / "card.md").read_text()
    assert "6 episodes of 10 control steps, seed 3" in card
    assert "| weak | 0.4 | [0.0] |" in card


def test_recorded_rows_fit_together(tiny):
    """Frames, states and actions of an episode are those of one and the same motion."""
    env = GoalEnv("push_t", 16)
    e = EpisodeStore(tiny)[1]
    options = {"state": e.states[0], "factors": e.meta["factors"]}
    obs, info = env.reset(options=options)
    assert np.array_equal(obs["image"], e.frames[0])
    for t, action in enumerate(e.actions, start=1):
        obs, *_, info = env.step(action)
        assert np.array_equal(info["state"], e.states[t])
        assert np.array_equal(info["pose"], e.poses[t])
        assert np.array_equal(obs["proprio"], e.proprio[t])
        if t % 5 == 0:
            assert np.array_equal(obs["image"], e.frames[t // 5])
    env.close()


def test_workers_do_not_change_a_byte(tiny, tiny_config, tmp_path):
    collect(replace(tiny_config, workers=2), tmp_path)
    assert contents(tmp_path) == contents(tiny)


def test_an_episode_depends_on_its_id_only(tiny, tiny_config):
    env = GoalEnv("push_t", 16)
    for number in (5, 2):
        made = room.record(env, tiny_config, number)
        for name in COLUMNS:
            wanted = getattr(EpisodeStore(tiny)[number], name)
            assert np.array_equal(getattr(made, name), wanted)
    env.close()


def test_collecting_again_adds_only_what_is_missing(tiny, tiny_config, tmp_path):
    collect(replace(tiny_config, episodes=2), tmp_path)
    first = (tmp_path / "shard-00000").stat().st_ino
    collect(tiny_config, tmp_path)
    assert (tmp_path / "shard-00000").stat().st_ino == first
    assert contents(tmp_path) == contents(tiny)


KILLED = """
import os, signal
from pathlib import Path
from robot_wm.data.formats import native as episodes
from sim.collection.collect import CollectConfig, Mix, collect

written, write_json = [], episodes.write_json
def write(path, value):
    written.append(path)
    if len(written) == 3:  # dataset.json, a first shard, and in the middle of the second
        os.kill(os.getpid(), signal.SIGKILL)
    write_json(path, value)
episodes.write_json = write
config = {config!r}
config["mix"] = tuple(Mix(**part) for part in config["mix"])
collect(CollectConfig(**config), Path({root!r}))
"""


def test_kill_and_resume_lose_and_double_nothing(tiny, tiny_config, tmp_path):
    script = KILLED.format(config=asdict(tiny_config), root=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [n for n in names if n.startswith("shard")] == ["shard-00000"]
    assert any(n.startswith(".shard-00001") for n in names)  # half-written, and out of sight
    assert [e.id for e in EpisodeStore(tmp_path, verify=True)] == [0, 1]
    collect(tiny_config, tmp_path)
    assert contents(tmp_path) == contents(tiny)


def test_changed_configuration_is_refused(tiny_config, tmp_path):
    small = replace(tiny_config, episodes=2)
    collect(small, tmp_path)
    before = contents(tmp_path)
    for change in ({"seed": 4}, {"steps": 15}, {"variation": ()}, {"mix": (Mix("weak", 1.0),)}):
        with pytest.raises(DataError, match="another configuration"):
            collect(replace(small, **change), tmp_path)
    assert contents(tmp_path) == before


def test_full_disk_leaves_whole_shards(tiny, tiny_config, tmp_path, monkeypatch):
    save, calls = np.save, []

    def full(path, rows, **rest):
        calls.append(path)
        save(path, rows, **rest)
        if len(calls) == len(COLUMNS) + 3:
            path.write_bytes(path.read_bytes()[:50])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(StorageError, match="free space"):
            collect(tiny_config, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset.json", "shard-00000"]
    assert [e.id for e in EpisodeStore(tmp_path, verify=True)] == [0, 1]
    collect(tiny_config, tmp_path)
    assert contents(tmp_path) == contents(tiny)


def test_mix_follows_shares_and_noise_levels():
    mix = (Mix("random", 3.0), Mix("expert", 1.0, (0.1, 0.2)))
    config = CollectConfig("two_room", "x", 1, 5, mix, image_size=16)
    env = GoalEnv("two_room", 16)
    metas = [room.record(env, config, i).meta for i in range(160)]
    env.close()
    expert = [m for m in metas if m["policy"] == "expert"]
    assert len(expert) / 160 == pytest.approx(0.25, abs=0.1)
    assert np.mean([m["noise"] == 0.1 for m in expert]) == pytest.approx(0.5, abs=0.25)
    assert {m["noise"] for m in metas if m["policy"] == "random"} == {0.0}


@pytest.mark.parametrize(
    "change",
    [{"episodes": 0}, {"steps": 4}, {"mix": ()}, {"mix": (Mix("noisy", 1.0),)}, {"task": "cube"}],
)
def test_impossible_configurations_are_refused(tiny_config, change):
    with pytest.raises(ConfigError):
        replace(tiny_config, **change)


def test_unknown_factors_are_refused_before_anything_is_written(tiny_config):
    with pytest.raises(ConfigError, match="colour"):
        replace(tiny_config, variation=("colour",))
    assert replace(tiny_config, variation=("all",)).variation == ("all",)
