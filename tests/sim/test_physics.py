"""Pairs of clips: equal until the edit, different from it on, and balanced."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from sim.physics.clips import PANEL, ClipMaker, changes
from sim.physics.free_fall import FreeFall
from sim.physics.stage import clip_pairs
from sim.physics.violations import CATEGORIES


@pytest.fixture(scope="module")
def maker():
    from sim import make

    env = make("push_t", 64)
    yield ClipMaker(env, 5)
    env.close()


def check(pair) -> None:
    assert pair.possible.shape == pair.impossible.shape == (8, 64, 64, 3)
    assert pair.possible.dtype == pair.impossible.dtype == np.uint8
    assert pair.actions.shape == (7, 10)
    differ = [bool((a != b).any()) for a, b in zip(pair.possible, pair.impossible, strict=True)]
    assert not any(differ[: pair.first])
    assert differ[pair.first]


@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_clips_part_at_one_frame(maker, name) -> None:
    category = CATEGORIES[name]
    pairs = list(maker.pairs(name, category, 2, seed=3))
    for pair in pairs:
        check(pair)
        if category.balanced:
            ours, theirs = (changes(f)[pair.first - 1] for f in (pair.impossible, pair.possible))
            assert (ours > theirs) == (pair.scene % 2 == 0)


def test_the_same_seed_gives_the_same_clips(maker) -> None:
    one, again, other = (
        next(maker.pairs("inertia", CATEGORIES["inertia"], 1, seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one.impossible, again.impossible)
    np.testing.assert_array_equal(one.actions, again.actions)
    assert (one.possible != other.possible).any()


def test_possible_clips_are_what_the_scene_does(maker, monkeypatch) -> None:
    """Told actions, executed from the same start, give the possible clip's frames."""
    starts, play = [], maker._play
    monkeypatch.setattr(
        maker, "_play", lambda start, *rest: starts.append(start) or play(start, *rest)
    )
    pair = next(maker.pairs("inertia", CATEGORIES["inertia"], 1, seed=5))
    env = maker.env
    obs, _ = env.reset(options={"state": starts[-1].state})
    frames = [obs["image"]]
    for command in pair.actions.reshape(7, 5, 2):
        for action in command:
            obs = env.step(action)[0]
        frames.append(obs["image"])
    np.testing.assert_array_equal(np.stack(frames), pair.possible)


def test_a_panel_hides_the_robot(maker) -> None:
    pair = next(maker.pairs("permanence", CATEGORIES["permanence"], 1, seed=0))
    panel = (pair.possible == PANEL).all(-1).all(0)
    rows, columns = np.flatnonzero(panel.any(1)), np.flatnonzero(panel.any(0))
    assert 8 <= len(rows) <= 12
    assert 8 <= len(columns) <= 12
    blue = (pair.possible[..., 2].astype(int) - pair.possible[..., 0] > 80).any((1, 2))
    gone = (pair.impossible[..., 2].astype(int) - pair.impossible[..., 0] > 80).any((1, 2))
    assert not blue[pair.first - 1]  # behind the panel
    assert blue[pair.first]
    assert not gone[pair.first :].any()


def test_a_ball_falls_with_gravity_until_it_does_not() -> None:
    fall = FreeFall(64, 10)
    try:
        pairs = list(fall.pairs(4, seed=1))
    finally:
        fall.close()
    for pair in pairs:
        check(pair)
        # Height of the ball in every frame: falling, its second difference is the same throughout.
        dark = np.abs(pair.possible[..., 0].astype(int) - 119) < 40
        heights = [float(np.mean(np.nonzero(frame[:58])[0])) for frame in dark if frame[:58].any()]
        bends = np.diff(heights, 2)[: pair.first]
        # g t² = .25 * .25² m = 15.6 mm = 1.95 px; the mean over pixels errs by some tenths.
        np.testing.assert_allclose(bends[:2], 1.95, atol=0.6)


def test_an_unknown_category_is_refused() -> None:
    with pytest.raises(ConfigError, match="inertia"):
        clip_pairs("push_t", 64, 5, ["inerta"], 1, 0)


def test_an_edited_scene_is_the_scene_with_the_body_moved(maker) -> None:
    from sim.physics.edits import AHEAD, SceneEditor

    editor = SceneEditor(maker.env, 5)
    made, again = (next(editor.scenes(1, 0.02, np.random.default_rng(7))) for _ in range(2))
    np.testing.assert_array_equal(made.truth, again.truth)
    assert made.seen.shape == (2, 64, 64, 3)
    assert made.truth.shape == (AHEAD, 64, 64, 3)
    assert (made.done.shape, made.actions.shape) == ((10,), (AHEAD, 10))
    assert np.linalg.norm(made.by) == pytest.approx(0.02)
    start, _, commands = maker.episode(np.random.default_rng(3))
    plain = editor._play(start, commands, range(0, 1))
    moved = editor._play(start, commands[:1], range(0, 1), np.array([0.0, 0.0]))
    assert plain is not None
    assert moved is not None
    np.testing.assert_allclose(moved[1], plain[1][:2], atol=1e-6)  # moved by nothing
