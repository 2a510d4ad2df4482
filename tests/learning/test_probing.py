"""The probe gate: what the probes find, what they must not find, and where the gate shuts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from moving_square import EVERY, SIZE, make_dataset, tiny_encoder

from robot_wm.commands.probe import others
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.poses import entries
from robot_wm.core.storage.provenance import provenance
from robot_wm.data.episodes import Episode, Schema, split_of
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard
from robot_wm.probing.features import features
from robot_wm.probing.gate import ProbeConfig, gate, probe, write_gate
from robot_wm.probing.probes import Samples, draw, factors_of, group_of, score

SMALL = ProbeConfig(frames=1200, epochs=25, patience=6, hidden=32, batch=64, lr=3e-3, threads=1)
TWO = ("x [m]", "angle [rad]", "v [m/s]")


def made_samples(targets, factors, episodes=60, per=20):
    """``per`` frames per episode; each sample's previous frame is the row before it."""
    n = episodes * per
    part = np.repeat(np.array([0, 0, 0, 1, 2])[np.arange(episodes) % 5], per)
    pairs = np.stack([np.maximum(np.arange(n) - 1, 0), np.arange(n)], axis=1)
    frames = np.zeros((n, 1, 1, 3), np.uint8)
    return Samples(frames, pairs, part, targets, factors)


@pytest.mark.parametrize("name", ["mlp", "attentive"])
def test_finds_a_linear_factor_and_nothing_in_noise(name):
    rng = np.random.default_rng(0)
    tokens = rng.normal(3.0, 2.0, (1200, 4, 8)).astype(np.float32)
    target = tokens[:, 1, 2] - 0.5 * tokens[:, 1, 5]
    samples = made_samples(target[:, None].astype(np.float64), ("x [m]",))
    config = replace(SMALL, probes=(name,), epochs=40)
    noise = rng.normal(size=tokens.shape).astype(np.float32)
    assert score(config, samples, tokens)[name][0] > 0.95
    assert score(config, samples, noise)[name][0] < 0.1


def test_features_that_only_name_the_episode_score_low():
    rng = np.random.default_rng(1)
    episode = np.repeat(np.arange(60), 20)
    place = rng.normal(size=60)[episode] + 0.05 * rng.normal(size=1200)
    code = rng.normal(size=(60, 4, 8))[episode].astype(np.float32)
    samples = made_samples(place[:, None], ("x [m]",))
    assert score(replace(SMALL, probes=("mlp",)), samples, code.copy())["mlp"][0] < 0.2
    # The same features do name the place once the test episodes were seen: a leak would show.
    leaky = replace(samples, part=np.tile([0, 0, 0, 1, 2], 240))
    assert score(replace(SMALL, probes=("mlp",)), leaky, code)["mlp"][0] > 0.9


@pytest.mark.parametrize("name", ["mlp", "attentive"])
def test_velocity_is_read_from_two_frames_and_position_from_one(name):
    rng = np.random.default_rng(2)
    x = rng.normal(size=1201)
    x[0] = x[1]
    tokens = np.zeros((1200, 4, 8), np.float32)
    tokens[:, 2, 3] = x[:1200]
    before = np.concatenate([x[:1], x[:1199]])
    change = (x[:1200] - before)[:, None]
    config = replace(SMALL, probes=(name,))
    moving = score(config, made_samples(change, ("v [m/s]",)), tokens.copy())[name][0]
    still = score(config, made_samples(change, ("x [m]",)), tokens.copy())[name][0]
    assert moving > 0.95
    assert still < 0.65  # half of the variance of x - x_before is in x


def test_same_seed_same_numbers_and_another_seed_others():
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(1200, 4, 8)).astype(np.float16)
    samples = made_samples(tokens[:, 0, :2].astype(np.float64), ("x [m]", "y [m]"))
    config = replace(SMALL, epochs=2)
    first, again = (score(config, samples, tokens.copy()) for _ in range(2))
    other = score(replace(config, seed=1), samples, tokens.copy())
    for name in config.probes:
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).all()


def test_features_that_are_not_finite_are_refused():
    tokens = np.zeros((1200, 4, 8), np.float32)
    tokens[7, 1, 1] = np.inf
    with pytest.raises(DataError, match="NaN or infinity"):
        score(SMALL, made_samples(np.zeros((1200, 1)), ("x [m]",)), tokens)


def test_groups_of_the_scenes_pose_names():
    wanted = {
        "pusher_x [m]": "position", "block_angle [rad]": "angle", "cos shoulder [rad]": "angle",
        "pusher_vx [m/s]": "velocity", "wrist_speed [rad/s]": "velocity", "agent_y [m]": "position",
        "d agent_x [m/s]": "velocity", "angle": "angle", "vy": "velocity", "x [px]": "position",
    }  # fmt: skip
    assert {name: group_of(name) for name in wanted} == wanted


def test_angles_become_cos_and_sin_and_a_given_velocity_is_not_derived():
    poses = np.array([[1.0, 0.0, 5.0], [2.0, np.pi / 2, 6.0], [3.0, np.pi, 7.0]])
    values, labels = factors_of(poses, entries(TWO), np.array([1]), dt=0.1)
    assert labels == ["x [m]", "cos angle [rad]", "sin angle [rad]", "v [m/s]"]
    np.testing.assert_allclose(values, [[2.0, 0.0, 1.0, 6.0]], atol=1e-12)


def test_missing_velocities_are_central_differences_and_angles_wrap():
    poses = np.array([[1.0, 3.1], [9.0, 0.0], [1.5, -3.1]])
    values, labels = factors_of(poses, entries(TWO[:2]), np.array([1]), dt=0.25)
    assert labels == ["x [m]", "d x [m/s]", *[f"{f} angle [rad]" for f in ("cos", "sin")],
                      "d angle [rad/s]"]  # fmt: skip
    assert values[0, 1] == pytest.approx(0.5 / 0.5)
    assert values[0, 4] == pytest.approx((2 * np.pi - 6.2) / 0.5)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "squares", episodes=100)


def test_draw_pairs_neighbours_and_keeps_episodes_apart(squares):
    samples = draw(squares, 400, np.random.default_rng(0))
    counts = np.bincount(samples.part)
    assert counts[0] <= 400
    assert counts[1] <= 50
    assert counts[2] <= 100
    np.testing.assert_array_equal(np.diff(samples.pairs, axis=1), 1)
    assert samples.factors == ("x [px]", "d x [px/s]", "y [px]", "d y [px/s]")
    # Every target is found at its own place, and only in an episode of the right split.
    splits = ("train", "validation", "test")
    schema = squares.schema
    known = {
        tuple(episode.poses[k * EVERY]): (split_of(schema.task, schema.collection, episode.id), k)
        for episode in squares
        for k in range(1, 12)
    }
    frames = {tuple(e.poses[k * EVERY]): e.frames[k - 1 : k + 1] for e in squares
              for k in range(1, 12)}  # fmt: skip
    for row in range(0, len(samples.part), 7):
        place = (samples.targets[row, 0], samples.targets[row, 2])
        assert known[place][0] == splits[samples.part[row]]
        np.testing.assert_array_equal(samples.frames[samples.pairs[row]], frames[place])


def test_a_factor_that_never_changes_is_named(tmp_path):
    schema = Schema("still", "s", SIZE, 5, 0.1, (-1.0,), (1.0,), ("x [m]",), 1, 0, 0, 100, {})
    open_dataset(tmp_path, schema)
    rows = np.ones((11, 1))
    episodes = [
        Episode(i, np.zeros((3, SIZE, SIZE, 3), np.uint8), rows, rows, np.zeros((11, 0)),
                np.zeros((10, 1)), {}) for i in range(100)
    ]  # fmt: skip
    write_shard(tmp_path, 0, episodes)
    with pytest.raises(DataError, match=r"x \[m\].*never change"):
        draw(EpisodeStore(tmp_path), 100, np.random.default_rng(0))


def test_probe_of_a_data_set(squares, tmp_path, monkeypatch):
    monkeypatch.setattr("robot_wm.probing.features._imagenet", lambda frames, config: None)
    config = replace(SMALL, frames=600, epochs=6, probes=("mlp",))
    rows = probe(config, squares.root, tiny_encoder(), tmp_path)
    kinds = {kind: [r for r in rows if r["kind"] == kind] for kind in config.kinds}
    assert [len(kinds[k]) for k in ("pixels", "random", "encoder", "imagenet")] == [4, 4, 4, 1]
    assert kinds["imagenet"][0]["note"] == "not installed"
    assert kinds["imagenet"][0]["r2"] is None
    assert {r["factor"]: r["r2"] for r in kinds["pixels"]}["x [px]"] > 0.8
    # tiny_encoder(0) and the seed-0 random baseline are the same weights: any difference is noise.
    for ours, theirs in zip(kinds["encoder"], kinds["random"], strict=True):
        assert ours["r2"] == pytest.approx(theirs["r2"], abs=1e-5)
    wanted = {"task", "factor", "kind", "probe", "r2", "frames", "seed", "encoder_sha256",
              "dataset_sha256"} | provenance().keys()  # fmt: skip
    assert wanted <= rows[0].keys()
    assert rows[0]["dataset_sha256"] == squares.sha256
    assert 0 < rows[0]["frames"] <= 600
    stored = [json.loads(line) for line in (tmp_path / "probe.jsonl").read_text().splitlines()]
    assert stored == rows
    table = (tmp_path / "probe.md").read_text()
    assert "not installed" in table
    assert f"{kinds['pixels'][0]['r2']:.3f} (mlp)" in table


def test_imagenet_features_or_none(squares):
    tokens = features("imagenet", squares[0].frames[:3], tiny_encoder(), SMALL)
    if tokens is None:
        pytest.skip("the two optional wheels are not installed")
    assert tokens.shape == (3, 49, 1280)
    assert np.isfinite(tokens).all()
    # A map of images that differ must differ: batch and order survive.
    other = features("imagenet", squares[0].frames[2:3], tiny_encoder(), SMALL)
    np.testing.assert_allclose(tokens[2], other[0], atol=0.02)
    assert np.abs(tokens[0].astype(float) - tokens[2]).max() > 0.1


def test_frames_of_another_size_are_refused(squares):
    encoder = tiny_encoder()
    encoder.config = replace(encoder.config, image_size=64)
    with pytest.raises(DataError, match="32 pixels"):
        probe(SMALL, squares.root, encoder)


@pytest.mark.parametrize(
    "bad", [{"frames": 4}, {"epochs": 0}, {"lr": 0.0}, {"kinds": ("dino",)}, {"probes": ()}]
)
def test_impossible_configurations_are_refused(bad):
    with pytest.raises(ConfigError):
        ProbeConfig(**bad)


def row(factor, kind, r2, name="mlp", **more):
    return {"task": "t", "factor": factor, "kind": kind, "probe": name, "r2": r2, **more}


def judged(factor, encoder, pixels=0.0, random=0.0):
    return [row(factor, "encoder", encoder), row(factor, "pixels", pixels),
            row(factor, "random", random)]  # fmt: skip


@pytest.mark.parametrize(
    ("factor", "values", "rules"),
    [
        ("x [m]", (0.97, 0.98, 0.98), []),
        ("x [m]", (0.9699, 0.5, 0.5), ["floor"]),
        ("x [m]", (0.98, 0.9901, 0.5), ["pixels"]),
        ("cos angle [rad]", (0.85, 0.86, 0.1), []),
        ("cos angle [rad]", (0.8499, 0.1, 0.1), ["floor"]),
        ("sin angle [rad]", (0.86, 0.1, 0.8701), ["random"]),
        ("v [m/s]", (0.2, 0.21, 0.21), []),
        ("v [m/s]", (0.2, 0.2101, 0.2101), ["pixels", "random"]),
        ("x [m]", (float("nan"), 0.5, 0.5), ["pixels", "random", "floor"]),
    ],
)
def test_gate_at_its_thresholds(factor, values, rules):
    result = gate(judged(factor, *values) + judged("y [m]", 0.99, 0.99, 0.99))
    assert result.passed == (not rules)
    assert [f.rule for f in result.failures] == rules
    assert all(f.factor == factor for f in result.failures)


def test_every_kind_is_judged_by_its_better_probe_and_failures_carry_numbers():
    rows = [*judged("x [m]", 0.5, 0.98, 0.1), row("x [m]", "encoder", 0.975, "attentive")]
    assert gate(rows).passed
    rows.append(row("x [m]", "pixels", 0.99, "attentive"))
    (failure,) = gate(rows).failures
    assert (failure.r2, failure.rule) == (0.975, "pixels")
    assert failure.needed == pytest.approx(0.98)
    assert str(failure) == "t x [m]: R² 0.975 < 0.980 (pixels)"


def test_a_good_data_set_does_not_cover_for_a_bad_one():
    good = [{**r, "dataset_sha256": "a"} for r in judged("x [m]", 0.99)]
    bad = [{**r, "dataset_sha256": "b"} for r in judged("x [m]", 0.5)]
    assert gate(good).passed
    assert len(gate(good + bad).failures) == 1


def test_gate_refuses_an_incomplete_comparison(tmp_path):
    rows = judged("x [m]", 0.99)[:2]
    with pytest.raises(DataError, match="random"):
        gate(rows)
    with pytest.raises(DataError, match="no probe rows"):
        gate([])
    assert write_gate(tmp_path, rows) is None
    assert "not judged" in (tmp_path / "probe.md").read_text()


def test_the_written_table_lists_failures(tmp_path):
    rows = [*judged("x [m]", 0.9), row("all", "imagenet", None, None, note="not installed")]
    result = write_gate(tmp_path, rows)
    assert result is not None
    assert not result.passed
    text = (tmp_path / "probe.md").read_text()
    assert "FAILED" in text
    assert "| t | x [m] | 0.000 (mlp) | 0.000 (mlp) | 0.900 (mlp) | not installed |" in text
    assert "* t x [m]: R² 0.900 < 0.970 (floor)" in text


def test_published_rows_of_other_tasks_stay_if_they_are_of_the_same_encoder(tmp_path):
    path = tmp_path / "probe.jsonl"
    stored = [{"task": t, "encoder_sha256": e, "r2": 0.5} for t, e in ("aA", "bA", "cB")]
    path.write_text("".join(json.dumps(row) + "\n" for row in stored))
    fresh = [{"task": "a", "encoder_sha256": "A", "r2": 0.9}]
    assert others(path, fresh) == [stored[1]]
    assert others(tmp_path / "none.jsonl", fresh) == []
