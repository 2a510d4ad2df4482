"""Pretraining end to end on tiny random data: sampling, monitors, resuming, the artefact."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.metrics import participation_ratio
from robot_wm.core.poses import entries
from robot_wm.data.episodes import Episode, Schema, split_of
from robot_wm.data.formats.native import EpisodeStore, open_dataset, write_shard
from robot_wm.data.frame_pairs import ClipSampler
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.collapse_metrics import (
    health,
    kernel_ridge_r2,
    pixel_tokens,
    pose_targets,
    rankme,
    spectrum,
)
from robot_wm.pretraining.trainer import PretrainConfig, learning_rate, pretrain
from robot_wm.training.checkpoint import WEIGHTS

CONFIG = PretrainConfig(
    steps=6,
    batch=8,
    encoder=EncoderConfig(image_size=16, patch=8, width=16, depth=1, heads=2, mlp_ratio=2),
    options={
        "predictor_width": 16, "predictor_depth": 1, "visible": 1, "dense_tokens": 2,
        "inverse_hidden": 16,
    },
    threads=1, log_every=2, checkpoint_every=2, monitor_every=3,
    monitor_train=60, monitor_test=30,
)  # fmt: skip


def dataset(root, task: str, episodes: int = 40, length: int = 10, seed: int = 0, more: int = 0):
    """The top left patch of frame k of episode e has the value 4e + k; its action t is (e, t).

    Behind it stand ``more`` controls that draw lots.
    """
    rng = np.random.default_rng(seed)
    schema = Schema(
        task, root.name, 16, 5, 0.1, (-1.0,) * (2 + more), (1.0,) * (2 + more),
        ("x [m]", "angle [rad]"), 1, 0, seed, episodes, {},
    )  # fmt: skip
    open_dataset(root, schema)
    made = []
    for e in range(episodes):
        frames = np.zeros((length // 5 + 1, 16, 16, 3), np.uint8)
        frames[:, :8, :8] = (4 * e + np.arange(len(frames)))[:, None, None, None]
        poses = rng.standard_normal((length + 1, 2))
        poses[:, 0] = e
        actions = np.stack([np.full(length, e), np.arange(length)], 1).astype(np.float32)
        actions = np.hstack([actions, rng.uniform(-1, 1, (length, more)).astype(np.float32)])
        states, proprio = np.zeros((length + 1, 1)), np.zeros((length + 1, 0), np.float32)
        made.append(Episode(e, frames, states, poses, proprio, actions, {"seed": e}))
    write_shard(root, 0, made)
    return root


@pytest.fixture
def data(tmp_path):
    return [dataset(tmp_path / "b", "beta"), dataset(tmp_path / "a", "alpha", seed=1)]


def recorded_units(sampler: ClipSampler, scene: str, rows: np.ndarray) -> np.ndarray:
    """Normalised actions as they were recorded."""
    known = sampler.statistics[scene]
    return np.asarray(rows, np.float64) * known.std + known.mean


def test_clips_are_pairs_of_training_frames_with_the_actions_between(data) -> None:
    sampler = ClipSampler([EpisodeStore(path) for path in data], block=5, image_size=16)
    batch = sampler.draw(np.random.default_rng(0), 500)
    assert sampler.scenes == ["alpha", "beta"]
    assert torch.bincount(batch["scene"]).tolist() == [250, 250]
    for number, (scene, name) in enumerate(zip(("alpha", "beta"), ("a", "b"), strict=True)):
        mine = batch["scene"] == number
        first, second = batch["frames"][mine][:, :, 0, 0, 0].long().unbind(1)
        assert torch.equal(second, first + 1)
        episode, k = first // 4, first % 4
        assert k.max() == 1  # the last frame never starts a clip
        assert {split_of(scene, name, int(e)) for e in episode.unique()} == {"train"}
        raw = recorded_units(sampler, scene, batch["actions"][mine].numpy())
        steps = raw.reshape(-1, 5, 2)
        np.testing.assert_allclose(steps[:, :, 0], episode[:, None].expand(-1, 5), atol=1e-3)
        wanted = k[:, None].numpy() * 5 + np.arange(5)
        np.testing.assert_allclose(steps[:, :, 1], wanted, atol=1e-3)


def test_clips_of_one_episode_come_together_and_say_what_they_look_like(data, tmp_path) -> None:
    plain = EpisodeStore(dataset(tmp_path / "nominal", "alpha", length=40))
    sampler = ClipSampler([EpisodeStore(data[0]), plain], 5, 16, clips_per_episode=3)
    batch = sampler.draw(np.random.default_rng(0), 62)
    beta, alpha = (slice(0, 31), slice(31, 62))  # 31 of each: ten threes and one
    looks = batch["appearance_id"][beta]
    assert (looks[:30].view(10, 3) == looks[:30:3, None]).all()
    assert len(looks.unique()) > 3
    first = batch["frames"][beta][:, 0, 0, 0, 0].long()
    assert all(len((first[looks == look] // 4).unique()) == 1 for look in looks.unique())
    # A nominal collection looks the same throughout, and like no other.
    assert len(batch["appearance_id"][alpha].unique()) == 1
    assert not set(looks.tolist()) & set(batch["appearance_id"][alpha].tolist())
    numbers = torch.stack([batch["clip"][beta], first], dim=1)
    assert len(numbers.unique(dim=0)) == len(first.unique()) == len(batch["clip"][beta].unique())
    assert not set(batch["clip"][beta].tolist()) & set(batch["clip"][alpha].tolist())


def test_statistics_normalise_the_training_blocks(data) -> None:
    sampler = ClipSampler([EpisodeStore(data[0])], block=5, image_size=16)
    blocks = sampler.parts[0][2]
    np.testing.assert_allclose(blocks.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(blocks.std(0), 1, atol=1e-5)


def test_shares_weigh_collections_and_remainders_are_drawn(data) -> None:
    stores = [EpisodeStore(path) for path in data]  # collections b (scene beta) and a (alpha)
    sampler = ClipSampler(stores, 5, 16, dataset_weights={"b": 4.0, "elsewhere": 9.0})
    np.testing.assert_allclose(sampler.dataset_weights, [0.8, 0.2])
    rng = np.random.default_rng(0)
    drawn = np.array(
        [torch.bincount(sampler.draw(rng, 8)["scene"], minlength=2).tolist() for _ in range(400)]
    )
    assert (drawn.sum(1) == 8).all()
    assert (drawn.min(0) >= [1, 6]).all()  # the whole parts of 1.6 and 6.4
    # One clip goes to alpha with probability .6: standard error .5 / √400 = .025.
    assert drawn[:, 0].mean() == pytest.approx(1.6, abs=0.08)
    equal = ClipSampler(stores, 5, 16).draw(rng, 10)
    assert torch.bincount(equal["scene"]).tolist() == [5, 5]


def test_drift_is_the_summed_action_normalised_per_scene(data, tmp_path) -> None:
    more = dataset(tmp_path / "c", "alpha", length=20, seed=2)
    sampler = ClipSampler([EpisodeStore(path) for path in [*data, more]], 5, 16)
    for scene, parts in ((0, (1, 2)), (1, (0,))):
        sums = np.concatenate(
            [
                recorded_units(sampler, sampler.scenes[scene], sampler.parts[i][2])
                .reshape(-1, 5, 2)
                .sum(1)
                for i in parts
            ]
        )
        got = np.concatenate([sampler.summed_actions[i] for i in parts])
        wanted = (sums - sums.mean(0)) / sums.std(0)
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    batch = sampler.draw(np.random.default_rng(0), 60)
    # Of a block (e, t) … (e, t + 4) the drift is (5e, 5t + 10): it falls into place with the frame.
    beta = batch["scene"] == 1
    episode = (batch["frames"][beta][:, 0, 0, 0, 0].long() // 4).float()
    summed_action = batch["summed_action"][beta][:, 0]
    slope = torch.cov(torch.stack([episode, summed_action]))
    assert slope[0, 1] ** 2 / (slope[0, 0] * slope[1, 1]) == pytest.approx(1, abs=1e-4)


def test_robots_with_more_and_fewer_controls_pretrain_together(data, tmp_path) -> None:
    arm = dataset(tmp_path / "arm", "arm", more=3)
    sampler = ClipSampler([EpisodeStore(data[0]), EpisodeStore(arm)], 5, 16)
    assert (sampler.action_dim, sampler.control_dim) == (25, 5)
    batch = sampler.draw(np.random.default_rng(0), 40)
    disc = batch["scene"] == 1
    assert not batch["actions"][disc][:, 10:].any()
    assert batch["actions"][~disc].abs().mean() > 0.5  # of unit variance, in every column
    assert batch["summed_action"][disc].isnan()[0].tolist() == [False, False, True, True, True]
    assert not batch["summed_action"][~disc].isnan().any()
    alone = ClipSampler([EpisodeStore(data[0])], 5, 16)
    np.testing.assert_array_equal(alone.summed_actions[0], sampler.summed_actions[0])
    out = pretrain(CONFIG, [data[0], arm], tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert losses
    assert (out / WEIGHTS).is_file()
    assert np.isfinite(losses).all()


def test_bad_data_is_refused(data, tmp_path) -> None:
    stores = [EpisodeStore(data[0])]
    with pytest.raises(DataError):
        ClipSampler(stores, block=7, image_size=16)
    with pytest.raises(DataError):
        ClipSampler(stores, block=5, image_size=32)
    short = dataset(tmp_path / "c", "gamma", length=4)
    with pytest.raises(DataError, match="no training clip"):
        ClipSampler([EpisodeStore(short)], block=5, image_size=16)


def test_learning_rate_rises_then_falls_to_its_floor() -> None:
    config = replace(CONFIG, steps=1000, lr=1.0, warmup=0.1, lr_end=0.05)
    assert learning_rate(config, 1) == pytest.approx(0.01)
    assert learning_rate(config, 100) == pytest.approx(1)
    assert learning_rate(config, 551) == pytest.approx(0.525)
    assert learning_rate(config, 1001) == pytest.approx(0.05)


def weights(folder) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / WEIGHTS)


def test_resuming_equals_never_having_stopped(data, tmp_path) -> None:
    straight = pretrain(CONFIG, data, tmp_path / "straight")
    assert pretrain(CONFIG, data, tmp_path / "twice", stop_at=3).name == "checkpoints"
    resumed = pretrain(CONFIG, data, tmp_path / "twice")
    other = pretrain(replace(CONFIG, seed=1), data, tmp_path / "other")
    one, two, three = weights(straight), weights(resumed), weights(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], three[name]) for name in one)
    ends = [weights(tmp_path / run / "checkpoints/step-00000006") for run in ("straight", "twice")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    # Both runs report the same steps: nothing is logged twice.
    logs = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("straight", "twice")
    ]
    steps = [[(x["step"], x["kind"]) for x in log if x["kind"] == "monitor"] for log in logs]
    assert steps[0] == [(0, "monitor"), (3, "monitor"), (6, "monitor")] == steps[1]


def test_artefact_names_its_data_and_monitors(data, tmp_path) -> None:
    folder = pretrain(replace(CONFIG, steps=2), data, tmp_path / "run")
    frozen = FrozenEncoder.load(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    hashes = {f"dataset:{path.name}": EpisodeStore(path).sha256 for path in data}
    assert manifest["parents"] == hashes
    assert frozen.sha256 == manifest["sha256"]
    measured = manifest["facts"]["monitors"]["a"]
    assert {"S/S0", "rankme", "r2 x [m]", "r2 cos angle [rad]"} <= measured.keys()
    card = (folder / "card.md").read_text()
    assert all(digest in card for digest in hashes.values())
    assert f"rankme: {measured['rankme']:.3f}" in card


def test_a_changed_configuration_or_damaged_state_is_refused(data, tmp_path) -> None:
    pretrain(CONFIG, data, tmp_path / "run", stop_at=2)
    with pytest.raises(WeightsError, match="lr"):
        pretrain(replace(CONFIG, lr=2e-3), data, tmp_path / "run")
    with pytest.raises(WeightsError, match="datasets"):
        pretrain(CONFIG, data[:1], tmp_path / "run")
    (state,) = (tmp_path / "run/checkpoints").iterdir()
    (state / WEIGHTS).write_bytes((state / WEIGHTS).read_bytes()[:100])
    with pytest.raises(WeightsError):
        pretrain(CONFIG, data, tmp_path / "run")


def test_meters_of_isotropic_and_rank_one_features() -> None:
    rng = np.random.default_rng(0)
    place = 5 * rng.standard_normal((1, 16, 8))
    noise = rng.standard_normal((4000, 16, 8))
    meters = health(place + noise)
    assert meters["S"] == pytest.approx(1, abs=0.01)
    assert meters["S0"] == pytest.approx(np.sqrt(1 + place.var()), rel=0.01)
    # 64,000 rows: singular values agree within 1 %, which costs the rank far less than .01.
    assert meters["rankme"] == pytest.approx(8, abs=0.01)
    assert meters["participation"] == pytest.approx(8, abs=0.01)
    line = rng.standard_normal((500, 4, 1)) * np.arange(1, 9)
    sigma = spectrum(line)
    assert rankme(sigma) == pytest.approx(1, abs=1e-4)
    assert participation_ratio(sigma**2) == pytest.approx(1, abs=1e-9)
    # σ² = (4, 1): participation 25/17, RankMe exp(entropy(2/3, 1/3)).
    assert participation_ratio(np.array([4.0, 1.0])) == pytest.approx(25 / 17)
    assert rankme(np.array([2.0, 1.0])) == pytest.approx(3 / 2 ** (2 / 3))


def test_collapse_to_positions_is_reported() -> None:
    rng = np.random.default_rng(0)
    place = rng.standard_normal((1, 16, 8)).astype(np.float32)
    collapsed = place + 0.01 * rng.standard_normal((2000, 16, 8)).astype(np.float32)
    assert health(collapsed)["S/S0"] < 0.05
    assert health(np.repeat(place, 100, axis=0))["S"] < 1e-6


def test_probe_finds_a_curved_map_and_reports_noise_as_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1200, 3))
    y = np.stack([x[:, 0] * x[:, 1], x @ np.arange(3.0) + 3, rng.standard_normal(1200)], axis=1)
    scores = kernel_ridge_r2((x[:800], y[:800]), (x[800:], y[800:]))
    assert scores[0] > 0.95  # a product: any linear read-out scores 0
    assert scores[1] > 0.99
    assert abs(scores[2]) < 0.1


def test_probe_of_constant_features_is_the_mean_not_a_crash() -> None:
    y = np.random.default_rng(0).standard_normal((90, 2))
    scores = kernel_ridge_r2((np.ones((60, 4)), y[:60]), (np.ones((30, 4)), y[60:]))
    np.testing.assert_allclose(scores, 0, atol=1e-9)


def test_probe_matches_the_textbook_formula() -> None:
    rng = np.random.default_rng(0)
    x, new = rng.standard_normal((50, 4)), rng.standard_normal((20, 4))
    y, truth = rng.standard_normal((50, 1)), rng.standard_normal((20, 1))
    variance = x.var(0).sum()

    def kernel(a, b):
        return np.exp(-((a[:, None] - b) ** 2).sum(-1) / (2 * 0.7 * variance))

    alpha = np.linalg.solve(kernel(x, x) + 50 * 0.01 * np.eye(50), y - y.mean())
    guess = kernel(new, x) @ alpha + y.mean()
    wanted = 1 - ((guess - truth) ** 2).sum() / ((truth - y.mean()) ** 2).sum()
    got = kernel_ridge_r2((x, y), (new, truth), widths=(0.7,), strengths=(0.01,))
    np.testing.assert_allclose(got, [wanted], rtol=1e-8)


def test_probe_does_not_lose_what_lies_outside_the_main_directions() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 40)) * np.linspace(1.2, 0.8, 40)
    y = x[:, 20:] @ rng.standard_normal((20, 1))  # nothing of it in the 8 main directions
    assert kernel_ridge_r2((x[:600], y[:600]), (x[600:], y[600:]))[0] > 0.9


def test_angles_become_cosine_and_sine_but_speeds_do_not() -> None:
    poses = np.array([[0.5, np.pi / 6, 2.0]])
    values, labels = pose_targets(poses, entries(("x [m]", "a [rad]", "w [rad/s]")))
    assert labels == ["x [m]", "cos a [rad]", "sin a [rad]", "w [rad/s]"]
    np.testing.assert_allclose(values[0], [0.5, np.sqrt(3) / 2, 0.5, 2.0])


def test_pixel_tokens_are_patches_row_by_row() -> None:
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    frames[0, 8:, :8] = 255
    np.testing.assert_array_equal(pixel_tokens(8)(frames).mean(2), [[0, 0, 1, 0]])
