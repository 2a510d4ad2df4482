"""What the rivals learn of a toy scene in half a minute: to foresee it, and to act in a dream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from moving_square import SIZE, TINY, draw, make_dataset

from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.formats.base import open_episodes
from robot_wm.data.windows import frame_windows
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.world_models.base import WORLD_MODELS, TrainingData
from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.pixels.measures import open_loop
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config

pytestmark = pytest.mark.slow
RUNS = {
    "dreamer": DreamerConfig(
        "square", window=8, horizon=3, held_out=0, deter=64, blocks=4, groups=8, classes=8,
        hidden=64, depth=4, units=32, steps=250, batch=8, lr=2e-3, warmup=10, behaviour_steps=0,
        threads=1,
    ),
    "world_models": WorldModels2018Config(
        "square", window=8, horizon=3, held_out=0, z=8, hidden=64, mixtures=2, vae_steps=120,
        vae_batch=24, vae_lr=2e-3, rnn_steps=200, rnn_batch=32, rnn_lr=5e-3, generations=40,
        population=12, dreams=32, dream_blocks=6, goal_range=6, threads=1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("learning")
    store = make_dataset(root / "data", episodes=48, blocks=12)
    torch.manual_seed(0)
    save_encoder(root / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    return TrainingData([store.root], root / "encoder", lambda path: path)


@pytest.mark.parametrize("name", sorted(RUNS))
def test_it_foresees_frames_better_than_standing_still_and_wonders_at_leaps(name, data, tmp_path):
    family = WORLD_MODELS[name]
    folder = family.train(RUNS[name], data, tmp_path)
    model = family.load(folder, data.encoder)
    store = open_episodes(data.datasets[0])
    found = open_loop(model, frame_windows([store], "validation", 8).evenly_spaced(24), 3)
    assert found["explained_1"] > 0.3
    assert found["explained_3"] > 0.3
    assert found["shuffled"] > 1.2  # it listens to actions
    # The square leaps to the other corner: that is stranger than what was recorded.
    leaps, usual = [], []
    for i in store.indices("test")[:6]:
        frames, actions = np.array(store[i].frames[:6]), store[i].actions.reshape(-1, 10)[:5]
        usual.append(model.surprise(frames, actions)[-1])
        frames[-1] = draw((store[i].poses[25] + SIZE / 2 - 4) % (SIZE - 12) + 6)
        leaps.append(model.surprise(frames, actions)[-1])
    assert np.mean(leaps) > np.mean(usual) + 1  # [nats]
    if name == "world_models":
        dream = read_manifest(folder, "world_model")["facts"]["dream"]
        assert dream["after"] < 0.9 * dream["before"]
