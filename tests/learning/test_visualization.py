"""Frames that travel with a model, and which of them a plan's imagined latents are nearest to."""

import numpy as np
import pytest
import torch
from moving_square import SIZE, draw, make_dataset, tiny_encoder

from planning.reporting.episode_recorder import Imagination
from robot_wm.core.errors import WeightsError
from robot_wm.core.protocols import History, ModelSpec
from robot_wm.world_models.jepa.model import JEPAWorldModel, Network, Sizes
from robot_wm.world_models.jepa.visualization import (
    SHEET,
    SIDE,
    NearestFrameDecoder,
    contact_sheet,
    read_sheet,
)

SIZES = Sizes(
    positions=16, encoder_width=32, action=10, reduced=6, channels=4, keypoints=2, embedding=7,
    embedding_width=16, embedding_blocks=1, width=32,
    blocks=1, horizon=3, heads=2, proposer_width=16, proposer_blocks=1,
    distance_width=16, distance_blocks=1,
)  # fmt: skip
SPEC = ModelSpec(
    task="square", action_low=(-1.0,) * 10, action_high=(1.0,) * 10, control_dim=2,
    control_dt=0.02, context=2, horizon=3, image_size=SIZE,
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("squares") / "data", episodes=24)


@pytest.fixture(scope="module")
def sheet(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("artefact") / SHEET
    path.write_bytes(contact_sheet([store], seed=0))
    return path


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = Network(SIZES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(network.reduce.basis)
    return JEPAWorldModel(network.requires_grad_(False), tiny_encoder(), SPEC)


def test_a_sheet_holds_training_frames_unchanged(store, sheet):
    frames = read_sheet(sheet, SIZE)
    assert frames.shape == (SIDE**2, SIZE, SIZE, 3)
    known = {
        split: {frame.tobytes() for i in store.indices(split) for frame in store[i].frames}
        for split in ("train", "test")
    }
    shown = {frame.tobytes() for frame in frames}
    assert shown <= known["train"]
    assert not shown & known["test"]
    # 256 draws with replacement from all training frames: most differ.
    assert len(shown) > 100


def test_a_sheet_depends_on_its_seed_alone(store, sheet):
    assert contact_sheet([store], seed=0) == sheet.read_bytes()
    assert contact_sheet([store], seed=1) != sheet.read_bytes()


def test_a_sheet_of_another_size_is_refused(sheet, model):
    with pytest.raises(WeightsError, match="512x512"):
        read_sheet(sheet, 2 * SIZE)


def test_frames_are_found_by_their_own_latents(sheet, model, monkeypatch):
    shown = NearestFrameDecoder.illustrate(model, sheet)
    state = shown.encode(History.of_goal(draw(np.array([9.0, 20.0]))))
    wanted = [200, 3, 77]
    # A model whose imagination lands a little beside three known frames.
    latents = shown.frame_latents[wanted][None]
    gaps = torch.cdist(shown.frame_latents, shown.frame_latents)
    nudge = gaps[gaps > 0].min() / 4
    beside = latents + nudge * torch.nn.functional.normalize(torch.ones(latents.shape[-1]), dim=0)
    monkeypatch.setattr(shown, "imagine", lambda state, actions: beside)
    found = shown.nearest_frames(state, np.zeros((3, 10), np.float32))
    np.testing.assert_array_equal(found, shown.frames[wanted])


def test_nearest_means_euclidean_in_the_models_own_latents(sheet, model):
    shown = NearestFrameDecoder.illustrate(model, sheet)
    state = shown.encode(History.of_goal(draw(np.array([9.0, 20.0]))))
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 10)).astype(np.float32)
    own = np.stack([shown.encode(History.of_goal(frame)).z[1] for frame in shown.frames])
    imagined = model.imagine(state, actions[None])[0].numpy()
    distances = ((imagined[:, None] - own) ** 2).sum(-1)
    found = shown.nearest_frames(state, actions)
    np.testing.assert_array_equal(found, shown.frames[distances.argmin(1)])


def test_illustrating_changes_no_cost(sheet, model):
    shown = NearestFrameDecoder.illustrate(model, sheet)
    assert isinstance(shown, Imagination)
    assert not isinstance(model, Imagination)
    state = model.encode(History.of_goal(draw(np.array([9.0, 20.0]))))
    actions = np.random.default_rng(0).uniform(-1, 1, (5, 3, 10)).astype(np.float32)
    costs = [m.step_costs(state, state, actions) for m in (model, shown)]
    np.testing.assert_array_equal(*costs)
    assert shown.spec is model.spec
    assert shown.cost == model.cost
