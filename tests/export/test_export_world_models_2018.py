"""A World Model of 2018 as a bundle: its graphs agree with it, memory and controller included."""

import numpy as np
import pytest
import torch
from moving_square import SIZE, draw, tiny_encoder

from export.build.bundle import ExportConfig, export
from export.runtime.world_model import OnnxWorldModel
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, ModelSpec
from robot_wm.world_models.base import export_parts
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config
from robot_wm.world_models.world_models_2018.model import WorldModels2018
from robot_wm.world_models.world_models_2018.networks import Network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # tracing takes half a minute
OPTIONS = {"candidates": 24, "iterations": 2, "elites": 6, "beta": 2.0, "decay": 1.0}
SPEC = ModelSpec(
    "square", (-1.0,) * 10, (1.0,) * 10, 2, 0.02, context=2, horizon=3, image_size=SIZE,
    hashes={"world_model": "0" * 64, "encoder": "1" * 64},
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = Network(WorldModels2018Config("square", z=6, hidden=8, mixtures=2, horizon=3), SPEC)
    torch.nn.init.normal_(network.controller.weight, std=0.3)
    return WorldModels2018(network.requires_grad_(False), tiny_encoder(), SPEC, "native")


def test_the_bundle_is_its_source(model, tmp_path):
    rng = np.random.default_rng(0)
    frames = np.stack([draw(rng.uniform(6, SIZE - 6, 2)) for _ in range(16)])
    config = ExportConfig(optimizer="icem", options=OPTIONS, proposals=8, plans=0)
    export(model, config, frames, tmp_path / "bundle")
    twin = OnnxWorldModel(tmp_path / "bundle")
    moved = rng.uniform(-1, 1, (1, 10)).astype(np.float32)
    for past in (
        History(frames[:2], np.zeros((2, 0), np.float32), moved),
        History.of_goal(frames[2], action_dim=10),
    ):
        states = [m.encode(past) for m in (model, twin)]
        goals = [m.encode(History.of_goal(frames[5], action_dim=10)) for m in (model, twin)]
        both = list(zip((model, twin), states, goals, strict=True))
        actions = rng.uniform(-1, 1, (9, 3, 10)).astype(np.float32)
        costs = [m.step_costs(s, g, actions) for m, s, g in both]
        np.testing.assert_allclose(*costs, rtol=1e-4, atol=1e-5)
        plans = [m.propose(s, g, 5, np.random.default_rng(1)) for m, s, g in both]
        np.testing.assert_allclose(*plans, rtol=1e-4, atol=1e-5)


def test_what_must_draw_is_no_bundle(model):
    drawing = WorldModels2018(model.network, model.encoder, SPEC, "pixels")
    with pytest.raises(ConfigError, match="native"):
        export_parts(drawing)
