"""A collection in other looks: the source's states, drawn again, and nothing else changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.data.formats.native import EpisodeStore
from robot_wm.data.looks import digest, label, parted, source_of, suffix, twins
from sim import make
from sim.collection.collect import CollectConfig, Mix, collect
from sim.collection.looks import repaint
from sim.randomization import Color, Interval, drawn_again, looks_of
from sim.tasks import TASKS


def recorded(root: Path, task: str = "push_t", seed: int = 0, **more: object) -> Path:
    mix = (Mix("random", 1.0),)
    config = CollectConfig(
        task, "nominal", 6, 20, mix, episodes_per_shard=2, workers=1, seed=seed, image_size=32,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip
    return collect(config, root)


LOOKING = [task for task in TASKS if looks_of(TASKS[task].factors)]
DEAR = ("cube", "reacher")  # to draw: seconds
SOME = [pytest.param(t, marks=[pytest.mark.slow] * (t in DEAR)) for t in LOOKING]


@pytest.mark.parametrize("task", SOME)
def test_the_same_states_are_seen_in_training_looks_frame_for_frame(
    tmp_path: Path, task: str
) -> None:
    source = EpisodeStore(recorded(tmp_path / "a", task))
    found = EpisodeStore(repaint(source.root, tmp_path / "b", 1, 6))
    env, names = make(task, 32), drawn_again(TASKS[task].factors)
    assert len(found) == len(source) == 6
    assert source_of([found, source], 0) == 1
    assert twins(found, source, range(6)) == list(range(6))
    for split in ("train", "validation", "test"):
        assert found.indices(split) == source.indices(split)
    for seen, known in zip(found, source, strict=True):
        assert seen.id == known.id
        assert digest(seen.states) == digest(known.states) == seen.meta["source_states"]
        for column in ("states", "poses", "proprio", "actions"):
            np.testing.assert_array_equal(getattr(seen, column), getattr(known, column))
        assert set(seen.meta["factors"]) == set(names)
        for name, value in seen.meta["factors"].items():
            factor = TASKS[task].factors[name]
            if isinstance(factor, Interval):
                assert factor.low <= value <= factor.high
        for k, (frame, nominal) in enumerate(zip(seen.frames, known.frames, strict=True)):
            state = {"state": seen.states[5 * k]}
            drawn = env.reset(options={**state, "factors": seen.meta["factors"]})[0]["image"]
            np.testing.assert_array_equal(frame, drawn)
            # The control: without these factors the states give back the source's own picture.
            np.testing.assert_array_equal(nominal, env.reset(options=state)[0]["image"])
            assert np.abs(frame.astype(int) - nominal).mean() > 1
    env.close()


@pytest.mark.parametrize("task", LOOKING)
def test_a_look_changes_no_motion_and_what_changes_motion_is_no_look(task: str) -> None:
    env, rng, moved = make(task, 16, draw_images=False), np.random.default_rng(0), {}
    start = env.reset(seed=0)[1]["state"]
    push = [env.action_space.sample() for _ in range(8)]
    for name, factor in {"": None, **TASKS[task].factors}.items():
        factors = {name: factor.sample(rng)} if factor else {}
        env.reset(options={"state": start, "factors": factors})
        moved[name] = np.stack([env.step(action)[-1]["state"] for action in push])
    for name in looks_of(TASKS[task].factors):
        np.testing.assert_array_equal(moved[name], moved[""])
    if "gain" in moved:
        assert "gain" not in looks_of(TASKS[task].factors)
        assert np.abs(moved["gain"] - moved[""]).max() > 1e-4
    assert all(n in looks_of(TASKS[task].factors) for n, f in TASKS[task].factors.items()
               if isinstance(f, Color))  # fmt: skip


def test_each_number_is_another_draw_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a")
    first = EpisodeStore(repaint(source, tmp_path / "b", 1, 3))
    assert len(first) == 4  # whole shards of two
    other = EpisodeStore(repaint(source, tmp_path / "c", 2, 3))
    assert first.meta(0)["factors"] != other.meta(0)["factors"]
    assert first.meta(0)["factors"] != first.meta(1)["factors"]
    whole = EpisodeStore(repaint(source, tmp_path / "d", 1, 6, workers=2)).sha256
    shard = tmp_path / "b" / "shard-00001"
    for path in shard.iterdir():
        path.unlink()
    shard.rmdir()
    # Gone on with, grown, by one worker instead of two: the same bytes.
    assert EpisodeStore(repaint(source, tmp_path / "b", 1, 6)).sha256 == whole
    with pytest.raises(DataError, match="looks"):
        repaint(source, tmp_path / "b", 2, 6)


def test_looks_of_other_states_are_no_twins(tmp_path: Path) -> None:
    source = EpisodeStore(recorded(tmp_path / "a"))
    look = EpisodeStore(repaint(source.root, tmp_path / "b", 1, 2))
    other = EpisodeStore(recorded(tmp_path / "c", seed=1))
    with pytest.raises(DataError, match="other states"):
        twins(look, other, [0])
    assert source_of([look, other], 0) is None  # its configuration says so already


def test_names_of_looks() -> None:
    assert [parted(f"nominal{suffix(n)}") for n in (1, 2, 12)] == [
        ("nominal", 1), ("nominal", 2), ("nominal", 12),
    ]  # fmt: skip
    for plain in ("nominal", "looks", "nominal-looks1", "nominal-looks0", "nominal-mirrored"):
        assert parted(plain) == (plain, 0)


def test_what_cannot_be_drawn_again_is_refused(tmp_path: Path) -> None:
    varied = recorded(tmp_path / "a", variation=("agent_color",))
    with pytest.raises(ConfigError, match="6 varied"):
        repaint(varied, tmp_path / "b", 1, 6)
    assert label(EpisodeStore(varied).schema) == "nominal"


def test_a_recoloured_texture_looks_the_same_in_a_used_context_and_in_a_new_one() -> None:
    env, rng = make("reacher", 32), np.random.default_rng(0)
    state = env.reset(seed=0)[1]["state"]
    for _ in range(3):
        factors = {"canvas_color": TASKS["reacher"].factors["canvas_color"].sample(rng)}
        options = {"state": state, "factors": factors}
        used = env.reset(options=options)[0]["image"]
        fresh = make("reacher", 32)
        np.testing.assert_array_equal(used, fresh.reset(options=options)[0]["image"])
        fresh.close()
    env.close()
