"""Bundles of LeWM and DINO-WM cost what their sources do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import draw, tiny_encoder
from tiny_jepa import SPEC

from export.build.bundle import ExportConfig, export
from export.runtime.world_model import OnnxWorldModel
from robot_wm.core.protocols import History
from robot_wm.world_models.causal.model import CausalModel
from robot_wm.world_models.dino_wm.network import DinoWMConfig, DinoWMNetwork
from robot_wm.world_models.lewm.network import LeWMConfig, LeWMNetwork

pytestmark = pytest.mark.slow  # tracing takes seconds a graph
OPTIONS = {"candidates": 12, "iterations": 2, "elites": 3, "beta": 2.0, "decay": 1.0}
SMALL = {"width": 16, "depth": 1, "heads": 2}


@pytest.mark.parametrize("name", ["lewm", "dino_wm"])
def test_a_bundle_costs_what_its_source_does(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if name == "lewm":
        small = LeWMConfig("square", latent=8, hidden=16, encoder_width=16, encoder_depth=1,
                           encoder_heads=2, **SMALL)  # fmt: skip
        network = LeWMNetwork(small, SPEC.image_size, SPEC.action_dim)
    else:
        network = DinoWMNetwork(DinoWMConfig("square", **SMALL), tiny_encoder(), SPEC.action_dim)
    for parameter in network.parameters():  # what begins at zero would hide what is wrong
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    model = CausalModel(network.requires_grad_(False), SPEC)
    rng = np.random.default_rng(0)
    frames = np.stack([draw(rng.uniform(6, 26, 2)) for _ in range(8)])
    config = ExportConfig("icem", OPTIONS, proposals=4, plans=0)
    reports = export(model, config, frames, tmp_path / "bundle")
    assert reports["parity"]["worst"] < 1e-4  # of two runtimes in float32, relative
    twin = OnnxWorldModel(tmp_path / "bundle")
    here, there = (twin.encode(History.of_goal(f, action_dim=SPEC.action_dim)) for f in frames[:2])
    proposed = twin.propose(here, there, 5, rng)
    assert proposed.shape == (5, SPEC.horizon, SPEC.action_dim)
    assert not proposed[0].any()  # staying comes first
