"""LeWM and DINO-WM on the moving square: causal, alive, and better than copying."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import SPEED, TINY, draw, make_dataset, tiny_encoder
from safetensors.torch import load_file

from planning.agent.protocols import Imagination
from robot_wm.core.errors import ConfigError, DataError, InputError, WeightsError
from robot_wm.core.protocols import History
from robot_wm.core.storage.provenance import read_json
from robot_wm.data.formats.base import open_stores
from robot_wm.data.latent_cache import build_latents
from robot_wm.data.sequences import block_actions
from robot_wm.data.windows import Windows
from robot_wm.encoders.base import load_encoder
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.training.loop import fit
from robot_wm.world_models.base import TrainingData, load_world_model
from robot_wm.world_models.causal.model import CausalModel
from robot_wm.world_models.causal.network import CausalNetwork
from robot_wm.world_models.dino_wm.family import FAMILY as DINO
from robot_wm.world_models.dino_wm.network import DinoWMConfig, DinoWMNetwork
from robot_wm.world_models.lewm.family import FAMILY as LEWM
from robot_wm.world_models.lewm.network import LeWMConfig, LeWMNetwork

SMALL_LEWM = LeWMConfig(
    "square", steps=150, batch=32, lr=2e-3, warmup=10, ema=0.9, width=32, depth=1, heads=2,
    encoder_width=32, encoder_depth=1, encoder_heads=2, hidden=64, latent=8, directions=64,
    log_every=50, eval_every=150, checkpoint_every=150, threads=1,
)  # fmt: skip
SMALL_DINO = DinoWMConfig(
    "square", steps=150, batch=16, lr=2e-3, warmup=10, ema=0.9, width=32, depth=1, heads=2,
    log_every=50, eval_every=150, checkpoint_every=150, threads=1,
)  # fmt: skip
FAMILIES = {"lewm": (LEWM, SMALL_LEWM), "dino_wm": (DINO, SMALL_DINO)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    root = tmp_path_factory.mktemp("causal")
    store = make_dataset(root / "data", episodes=48, blocks=12)
    torch.manual_seed(0)
    save_encoder(root / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    encoder = load_encoder(root / "encoder")
    return TrainingData(
        [store.root], root / "encoder", lambda path: build_latents(path, encoder, root)
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> dict[str, Path]:
    return {
        name: family.train(config, data, tmp_path_factory.mktemp(name))
        for name, (family, config) in FAMILIES.items()
    }


def networks() -> list[CausalNetwork]:
    torch.manual_seed(0)
    made = [LeWMNetwork(SMALL_LEWM, 32, 10), DinoWMNetwork(SMALL_DINO, tiny_encoder(), 10)]
    for network in made:
        for parameter in network.parameters():  # what begins at zero hides every dependence
            if parameter.requires_grad:
                parameter.data.add_(0.05 * torch.randn_like(parameter))
        network.eval()
    return made


def test_windows_are_the_frames_and_blocks_of_one_episode(data) -> None:
    stores = open_stores("square", data.datasets)
    windows = Windows(stores, "train", 4, lambda n, i: stores[n][i].frames)
    chosen = stores[0].indices("train")
    assert len(windows) == 10 * len(chosen)  # thirteen frames: ten windows of four
    batch = windows.gather(np.array([0, 9, 10]))
    for row, (episode, first) in enumerate(((0, 0), (0, 9), (1, 0))):
        wanted = stores[0][chosen[episode]]
        np.testing.assert_array_equal(batch.frames[row], wanted.frames[first : first + 4])
        blocks = block_actions(stores[0], chosen[episode])
        np.testing.assert_array_equal(batch.actions[row], blocks[first : first + 3])
    seen = windows.draw(50, np.random.default_rng(0)).actions
    assert torch.equal(seen, windows.draw(50, np.random.default_rng(0)).actions)
    with pytest.raises(DataError, match="14 block frames"):
        Windows(stores, "train", 14, lambda n, i: stores[n][i].frames).draw(
            1, np.random.default_rng(0)
        )


@pytest.mark.parametrize("number", [0, 1])
def test_a_prediction_knows_nothing_of_later_frames(number: int) -> None:
    network = networks()[number]
    z, a = torch.randn(2, 3, network.latent), torch.randn(2, 3, 10)
    with torch.no_grad():
        whole = network.predict(z, a)
        torch.testing.assert_close(
            network.predict(z[:, :2], a[:, :2]), whole[:, :2], atol=1e-5, rtol=1e-4
        )
        a[:, 0] += 1
        assert (network.predict(z, a)[:, 2] - whole[:, 2]).abs().max() > 1e-4  # nor forgets


@pytest.mark.parametrize("number", [0, 1])
def test_a_rollout_is_one_step_after_the_other(number: int) -> None:
    network = networks()[number]
    z, a = torch.randn(1, 2, network.latent), torch.randn(1, 4, 10)
    with torch.no_grad():
        got = network.rollout(z[:, 0], z[:, 1], a[:, 0], a[:, 1:])
        seen = [z[:, 0], z[:, 1]]
        for step in range(3):
            pair = torch.stack(seen[-2:], 1)
            seen.append(network.predict(pair, a[:, step : step + 2])[:, -1])
    torch.testing.assert_close(got, torch.stack(seen[2:], 1))


def test_batch_statistics_are_frozen_outside_training() -> None:
    network = networks()[0]
    frames = torch.from_numpy(np.stack([draw(np.array([8.0 + k, 20 - k])) for k in range(6)]))
    with torch.no_grad():
        alone = torch.cat([network.embed(frame[None]) for frame in frames])
        torch.testing.assert_close(network.embed(frames), alone, atol=1e-5, rtol=1e-4)
        assert (network.train().embed(frames) - alone).abs().max() > 1e-2


@pytest.mark.parametrize("name", FAMILIES)
def test_it_foresees_more_than_the_last_frame_and_uses_the_actions(name, trained, data) -> None:
    measured = read_json(trained[name] / "manifest.json")["facts"]["last"]["validation"]
    assert measured["explained"] > 0.3
    model = load_world_model(trained[name], data.encoder)
    rng, gaps = np.random.default_rng(0), []
    for _ in range(40):  # the block that leads to the goal, among others
        start = rng.uniform(8, 24, 2)
        blocks = np.tile(rng.uniform(-1, 1, (16, 1, 2)), (1, 1, 5)).astype(np.float32)
        goal = start + 5 * SPEED * blocks[0, 0, :2]
        still = np.zeros((0, 10), np.float32)
        state, there = (
            model.encode(History(draw(place)[None], np.zeros((1, 0), np.float32), still))
            for place in (start, goal)
        )
        costs = model.step_costs(state, there, blocks)[:, 0]
        gaps.append(int((costs < costs[0]).sum()))
    assert np.mean(gaps) < 3.75  # of sixteen; 7.5 if actions meant nothing


@pytest.mark.parametrize("name", FAMILIES)
def test_surprise_marks_the_frame_that_cannot_be(name, trained, data) -> None:
    model = load_world_model(trained[name], data.encoder)
    assert isinstance(model, CausalModel)
    places = np.array([[10.0, 10.0]]) + np.arange(6)[:, None] * [2.0, 1.0]
    actions = np.tile(np.array([0.5, 0.25], np.float32), (5, 5))
    usual = model.surprise(np.stack([draw(place) for place in places]), actions)
    assert (usual.shape, usual.dtype) == ((5,), np.float32)
    places[4:] = [[26, 26], [27, 26]]  # it jumps across
    odd = model.surprise(np.stack([draw(place) for place in places]), actions)
    np.testing.assert_allclose(odd[:3], usual[:3], rtol=1e-4)
    assert odd[3] > 2 * usual.max()
    with pytest.raises(InputError, match="two frames or more"):
        model.surprise(np.stack([draw(place) for place in places]), actions[:3])


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_stored_is_its_own_and_shows_what_it_imagines(name, trained, data, tmp_path):
    tensors = load_file(trained[name] / "weights.safetensors")
    assert not [key for key in tensors if key.startswith("frozen")]
    plain, shown = (load_world_model(trained[name], data.encoder, illustrate=i) for i in (0, 1))
    assert not isinstance(plain, Imagination)
    assert isinstance(shown, Imagination)
    state = shown.encode(History.of_goal(draw(np.array([10.0, 12.0])), action_dim=10))
    assert shown.nearest_frames(state, np.zeros((3, 10), np.float32)).shape == (3, 32, 32, 3)
    assert plain.spec.bytes_per_candidate > 0
    chunked = CausalModel(plain.network, plain.spec, chunk=3)
    actions = np.random.default_rng(0).uniform(-1, 1, (8, 2, 10)).astype(np.float32)
    goal = plain.encode(History.of_goal(draw(np.array([20.0, 12.0])), action_dim=10))
    np.testing.assert_allclose(
        chunked.step_costs(state, goal, actions), plain.step_costs(state, goal, actions), rtol=1e-4
    )
    with pytest.raises(ConfigError, match="cost 'distance'"):
        load_world_model(trained[name], data.encoder, cost="distance")
    save_encoder(tmp_path / "other", VideoEncoder(TINY), {}, {}, "other weights")
    with pytest.raises(DataError, match="built for encoder"):
        load_world_model(trained[name], tmp_path / "other")


def test_without_sigreg_the_latent_collapses_and_validation_says_so(trained, data, tmp_path):
    kept = read_json(trained["lewm"] / "manifest.json")["facts"]["last"]["validation"]
    off = replace(SMALL_LEWM, sigreg=0.0)
    folder = LEWM.train(off, data, tmp_path)
    lost = read_json(folder / "manifest.json")["facts"]["last"]["validation"]
    assert kept["std"] > 0.3
    assert lost["std"] < kept["std"] / 5


def test_an_interrupted_training_goes_on_as_if_it_had_not(data, tmp_path: Path) -> None:
    config = replace(SMALL_LEWM, steps=4, checkpoint_every=2)
    stores, encoder = open_stores("square", data.datasets), load_encoder(data.encoder)
    rows = LEWM.rows(stores, data, encoder)
    ends = []
    for run, stops in (("straight", (None,)), ("twice", (2, None))):
        target = tmp_path / run / "world_model"
        make = partial(LEWM.begin, config, stores, rows, encoder, target, None)
        for stop in stops:
            fit(make, tmp_path / run, stop_at=stop)
        ends.append(load_file(target / "weights.safetensors"))
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    training = LEWM.begin(config, stores, rows, encoder, target, None)
    training.held_out = None
    assert training.evaluate(4) == {}  # nothing to measure is no fault
    other = replace(config, latent=4)
    with pytest.raises(WeightsError, match="another configuration"):
        fit(partial(LEWM.begin, other, stores, rows, encoder, target, None), tmp_path / "twice")


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="context"):
        LeWMConfig("square", history=2, context=3)
    with pytest.raises(ConfigError, match="heads"):
        DinoWMConfig("square", width=30, heads=4)
