"""Weights on disk: what was damaged is refused, what was saved comes back."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from robot_wm.core.errors import WeightsError
from robot_wm.core.storage.provenance import MANIFEST, write_manifest
from robot_wm.training.checkpoint import (
    CONFIG,
    WEIGHTS,
    load_artifact,
    load_module,
    load_training_state,
    save_artifact,
    save_training_state,
)


@pytest.fixture
def artifact(tmp_path):
    shared = torch.arange(6.0)
    tensors = {"a": shared.view(2, 3).T, "b": shared}  # not contiguous, and sharing memory
    save_artifact(tmp_path / "x", "thing", tensors, {"n": 3}, {"data": "p"}, {"r": 1.5}, "# hi\n")
    return tmp_path / "x"


def test_round_trip(artifact) -> None:
    tensors, config, manifest = load_artifact(artifact, "thing")
    assert torch.equal(tensors["a"], torch.tensor([[0.0, 3], [1, 4], [2, 5]]))
    assert config == {"n": 3}
    assert manifest["parents"] == {"data": "p"}
    assert manifest["facts"] == {"r": 1.5}


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_truncated_or_altered_files_are_refused(artifact, name) -> None:
    content = (artifact / name).read_bytes()
    for damaged in (content[:-4], content[:-1] + bytes([content[-1] ^ 1]), b""):
        (artifact / name).write_bytes(damaged)
        with pytest.raises(WeightsError):
            load_artifact(artifact, "thing")
    (artifact / name).unlink()
    with pytest.raises(WeightsError):
        load_artifact(artifact, "thing")


@pytest.mark.parametrize("edit", [{"parents": {"data": "q"}}, {"files": {}}, {"kind": "other"}])
def test_edited_manifest_is_refused(artifact, edit) -> None:
    manifest = json.loads((artifact / MANIFEST).read_text())
    (artifact / MANIFEST).write_text(json.dumps(manifest | edit))
    with pytest.raises(WeightsError):
        load_artifact(artifact, "thing")


def test_manifest_that_is_not_a_manifest(artifact) -> None:
    for text in ("[]", "{}", '{"kind": "thing"}', "no json"):
        (artifact / MANIFEST).write_text(text)
        with pytest.raises(WeightsError):
            load_artifact(artifact, "thing")


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.zeros(2, 3)},
        {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)},
        {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)},
        {"weight": torch.zeros(2, 3), "bias": torch.zeros(2, dtype=torch.float64)},
    ],
)
def test_ill_fitting_tensors_are_refused_and_nothing_is_copied(tensors) -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(WeightsError):
        load_module(module, tensors)
    assert torch.equal(module.weight, before)


def trained(steps: int, model: nn.Module, optimizer: torch.optim.Optimizer, rng) -> None:
    for _ in range(steps):
        x = torch.from_numpy(rng.standard_normal((8, 3)).astype(np.float32)) + torch.rand(8, 3)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()


def machine():
    torch.manual_seed(3)
    model = nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), fused=True), np.random.default_rng(0)


def test_training_state_brings_back_everything(tmp_path) -> None:
    model, optimizer, rng = machine()
    trained(2, model, optimizer, rng)
    save_training_state(tmp_path, 1, model, optimizer, {"rng": rng}, {"lr": 0.1})
    save_training_state(tmp_path, 2, model, optimizer, {"rng": rng}, {"lr": 0.1})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]  # the older one is gone
    trained(3, model, optimizer, rng)
    torch.manual_seed(99)
    other, other_optimizer, other_rng = machine()
    torch.manual_seed(98)
    step = load_training_state(tmp_path, other, other_optimizer, {"rng": other_rng}, {"lr": 0.1})
    assert step == 2
    trained(3, other, other_optimizer, other_rng)
    assert torch.equal(model.weight, other.weight)
    assert rng.integers(1 << 60) == other_rng.integers(1 << 60)


def test_training_state_of_another_run_is_refused(tmp_path) -> None:
    model, optimizer, rng = machine()
    assert load_training_state(tmp_path, model, optimizer, {"rng": rng}, {}) == 0
    save_training_state(tmp_path, 1, model, optimizer, {"rng": rng}, {"lr": 0.1})
    with pytest.raises(WeightsError, match="lr"):
        load_training_state(tmp_path, model, optimizer, {"rng": rng}, {"lr": 0.2})
    path = tmp_path / "step-00000001" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError):
        load_training_state(tmp_path, model, optimizer, {"rng": rng}, {"lr": 0.1})


def signed(folder, kind, change):
    """Change the JSON of a state and have its manifest say that this is what was meant."""
    value = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(change(value)))
    (folder / MANIFEST).unlink()
    write_manifest(folder, kind, {}, {})


def edited(**change):
    return lambda value: value | change


STATE_FAULTS = {
    "a list": lambda value: [value],
    "a key more": edited(epoch=3),
    "a key less": lambda value: {k: v for k, v in value.items() if k != "groups"},
    "text for a step": edited(step="2"),
    "another step": edited(step=7),
    "no generators": edited(generators={}),
    "a wrong generator": edited(generators={"rng": {"bit_generator": "MT19937"}}),
    "no group": edited(groups=[]),
    "another decay": lambda v: v | {"groups": [v["groups"][0] | {"weight_decay": 9.0}]},
    "text for betas": lambda v: v | {"groups": [v["groups"][0] | {"betas": "ab"}]},
    "text for a rate": lambda v: v | {"groups": [v["groups"][0] | {"lr": "x"}]},
}


@pytest.mark.parametrize("fault", STATE_FAULTS)
def test_training_states_that_make_no_sense_are_refused(tmp_path, fault) -> None:
    model, optimizer, rng = machine()
    trained(1, model, optimizer, rng)
    folder = save_training_state(tmp_path, 2, model, optimizer, {"rng": rng}, {"lr": 0.1})
    signed(folder, "training_state", STATE_FAULTS[fault])
    with pytest.raises(WeightsError):
        load_training_state(tmp_path, model, optimizer, {"rng": rng}, {"lr": 0.1})


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer.0.exp_avg": torch.zeros(5)},
        {"optimizer.9.exp_avg": torch.zeros(())},
        {"optimizer.x.exp_avg": torch.zeros(())},
        {"torch_rng": torch.zeros(3)},
        {"torch_rng": None},
        {"optimizer.0.exp_avg": None},
    ],
    ids=str,
)
def test_tensors_of_another_optimiser_are_refused(tmp_path, change) -> None:
    model, optimizer, rng = machine()
    trained(1, model, optimizer, rng)
    folder = save_training_state(tmp_path, 2, model, optimizer, {"rng": rng}, {})
    tensors = {**load_file(folder / WEIGHTS), **change}
    save_file({k: v for k, v in tensors.items() if v is not None}, folder / WEIGHTS)
    signed(folder, "training_state", lambda value: value)
    with pytest.raises(WeightsError):
        load_training_state(tmp_path, model, optimizer, {"rng": rng}, {})


def test_what_is_no_state_is_neither_read_nor_removed(tmp_path) -> None:
    model, optimizer, rng = machine()
    (tmp_path / "step-notes").mkdir()
    (tmp_path / "step-00000001").mkdir()
    (tmp_path / "step-00000001" / "mine.txt").write_text("x")
    trained(1, model, optimizer, rng)
    save_training_state(tmp_path, 2, model, optimizer, {"rng": rng}, {})
    assert load_training_state(tmp_path, model, optimizer, {"rng": rng}, {}) == 2
    names = ["step-00000001", "step-00000002", "step-notes"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
