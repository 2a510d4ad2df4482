"""What every pretraining objective keeps to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import TINY
from toy_objective import Brightness

from robot_wm.cli.main import compose
from robot_wm.core.errors import ConfigError
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.pretraining.objectives import REGISTRY, Objective, make_objective

ROOT = Path(__file__).parents[2]
OBJECTIVES = {**REGISTRY, "toy": Brightness}


def built(name: str) -> Objective:
    torch.manual_seed(0)
    made: Objective = OBJECTIVES[name](TINY, {}, 2, 10, 2)
    return made


def batch(count: int = 8) -> dict[str, torch.Tensor]:
    rng, size = np.random.default_rng(0), TINY.image_size
    return {
        "frames": torch.from_numpy(rng.integers(0, 256, (count, 2, size, size, 3), np.uint8)),
        "actions": torch.from_numpy(rng.normal(size=(count, 10)).astype(np.float32)),
        "summed_action": torch.from_numpy(rng.normal(size=(count, 2)).astype(np.float32)),
        "scene": torch.arange(count) % 2, "appearance_id": torch.arange(count) // 2,
        "clip": torch.arange(count),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_the_loss_is_finite_moves_the_encoder_and_takes_chance_from_its_argument(name: str) -> None:
    objective = built(name).train()
    loss, parts = objective.loss(batch(), np.random.default_rng(0))
    assert loss.ndim == 0
    assert parts["loss"] == pytest.approx(float(loss.detach()))
    assert all(np.isfinite(value) for value in parts.values())
    again, _ = built(name).train().loss(batch(), np.random.default_rng(0))
    assert float(again) == float(loss)
    assert isinstance(objective.encoder, VideoEncoder)
    assert objective.encoder.config == TINY
    loss.backward()
    trained = [p for p in objective.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert trained
    before = {k: v.clone() for k, v in objective.encoder.state_dict().items()}
    torch.optim.SGD(objective.parameters(), 0.1).step()
    objective.after_step(0.5)
    after = objective.encoder.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_unknown_options_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no_such_option"):
        make_objective(name, TINY, {"no_such_option": 1}, 1, 10, 2)


PATHS = sorted(path.stem for path in (ROOT / "configs/objective").glob("*.yaml"))


@pytest.mark.parametrize("name", PATHS)
def test_every_yaml_makes_an_objective(name: str) -> None:
    told = compose([f"objective={name}"]).objective
    assert told.name in REGISTRY
    assert isinstance(make_objective(told.name, TINY, told.options, 1, 10, 2), Objective)


def test_every_objective_has_a_yaml() -> None:
    ours = {compose([f"objective={name}"]).objective.name for name in PATHS}
    assert ours == set(REGISTRY._ours)
