"""Somebody else's world model and objective, as if installed with pip: no other file knows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from moving_square import TINY, make_dataset
from point_world import PointEnv
from toy_family import FAMILY, LinearConfig, LinearModel

from planning.agent.build import mpc
from planning.agent.costs import Objective
from planning.agent.mpc import MPCAgent
from planning.optimizers import CEM
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.episodes import Recording, Schema
from robot_wm.data.formats.native import open_dataset, write_shard
from robot_wm.encoders.base import load_encoder
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.world_models.base import (
    TrainingData,
    export_parts,
    family_of,
    load_world_model,
)


def never(path: Path) -> Path:
    raise AssertionError("a model that looks at frames asked for latents")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An encoder, and a linear model of the point world."""
    root = tmp_path_factory.mktemp("family")
    torch.manual_seed(0)
    save_encoder(root / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    rng, env, made = np.random.default_rng(0), PointEnv(), []
    spec = env.spec
    schema = Schema(
        "point", "walks", spec.image_size, 5, spec.control_dt, spec.control_low, spec.control_high,
        spec.pose_names, 2, 2, 0, 60, {},
    )  # fmt: skip
    open_dataset(root / "data", schema)
    for i in range(60):
        recording = Recording(*env.reset(options={"state": rng.uniform(-1, 1, 2)}), 5)
        for direction in rng.uniform(-1, 1, (4, 2)):
            for _ in range(5):
                obs, *_, info = env.step(direction)
                recording.add(direction.astype(np.float32), obs, info)
        made.append(recording.episode(i, {}))
    write_shard(root / "data", 0, made)
    data = TrainingData([root / "data"], root / "encoder", never)
    return FAMILY.train(LinearConfig("point", steps=150), data, root), root / "encoder"


def test_a_model_is_loaded_by_what_its_manifest_says(toys: None, place) -> None:
    assert family_of(place[0]) is FAMILY
    model = load_world_model(*place)
    assert isinstance(model, LinearModel)
    assert set(model.spec.hashes) == {"encoder", "dataset", "world_model"}


def test_one_that_is_not_installed_is_named(place) -> None:
    with pytest.raises(WeightsError, match=r"family .linear.*jepa"):
        load_world_model(*place)
    with pytest.raises(WeightsError, match="cannot read"):
        load_world_model(place[0] / "nowhere", place[1])


def test_it_plans_in_the_point_world(toys: None, place) -> None:
    model = load_world_model(*place)
    optimizer = CEM(candidates=32, iterations=3, elites=4)
    agent = MPCAgent(model, optimizer, Objective.discounted(1.0), 4, proposals=4)
    env = PointEnv()
    goal = env.reset(options={"state": (0.8, -0.6)})[0]
    obs, info = env.reset(options={"state": (-0.8, 0.7)})
    agent.reset(goal, 0)
    for _ in range(60):
        obs, *_, info = env.step(agent.act(obs))
    # A pixel is a quarter of a metre, and between pixels there is nothing to see.
    assert np.linalg.norm(info["pose"] - (0.8, -0.6)) < 0.5 * np.linalg.norm((1.6, 1.3))


def test_what_a_family_cannot_do_is_a_typed_error(toys: None, place, tmp_path) -> None:
    from planning.commands.self_improve import _train
    from robot_wm.cli.main import compose

    with pytest.raises(ConfigError, match="linear, which cannot be trained on"):
        _train(compose([]), "round1", [], [], place[1], place[0])
    with pytest.raises(ConfigError, match="cannot be exported"):
        export_parts(SimpleNamespace())
    planner = {"optimizer": "icem", "proposals": 4}
    with pytest.raises(ConfigError, match="no learned actor"):
        mpc(SimpleNamespace(spec=load_world_model(*place).spec), planner)  # type: ignore[arg-type]
    save_encoder(tmp_path / "e", VideoEncoder(TINY), {}, {"family": "theirs"}, "card")
    with pytest.raises(WeightsError, match="encoder of the family 'theirs'"):
        load_encoder(tmp_path / "e")
    save_encoder(tmp_path / "other", VideoEncoder(TINY), {}, {}, "card")
    with pytest.raises(DataError, match="built for encoder"):
        load_world_model(place[0], tmp_path / "other")


def test_their_objective_pretrains(toys: None, tmp_path: Path) -> None:
    from robot_wm.pretraining.trainer import PretrainConfig, pretrain

    store = make_dataset(tmp_path / "data", episodes=12, blocks=4)
    config = PretrainConfig(
        steps=4, batch=8, encoder=TINY, objective="brightness", options={"weight": 2.0}, threads=1,
        monitor_every=0,
    )  # fmt: skip
    folder = pretrain(config, [store.root], tmp_path / "run")
    frames = np.zeros((2, TINY.image_size, TINY.image_size, 3), np.uint8)
    assert load_encoder(folder).encode_frames(frames).shape == (2, TINY.tokens, TINY.width)
    with pytest.raises(ConfigError, match="wieght"):
        pretrain(replace(config, options={"wieght": 1.0}), [store.root], tmp_path / "other")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_nothing_to_a_bundle(
    toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.runtime.world_model import OnnxWorldModel
    from robot_wm.cli import main as cli

    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    words = ("experiment=smoke", "world_model=linear", "objective=brightness",
             "encoder_tasks=push_t", "workers=1", "threads=1")  # fmt: skip
    # Collects, pretrains, trains and exports.
    assert cli.main(["evaluate", *words, "method=[mpc,onnx,random]"]) == 0
    assert family_of(tmp_path / "models/push_t-smoke/world_model") is FAMILY
    facts = read_manifest(tmp_path / "encoders/smoke/encoder", "encoder")["facts"]
    assert facts["pretrain"]["objective"] == "brightness"
    assert facts["pretrain"]["options"] == {"weight": 2.0}
    lines = (tmp_path / "runs/evaluate-smoke/official-push_t.jsonl").read_text().splitlines()
    rows = {row["method"]: row for row in map(json.loads, lines)}
    assert {method: row["backend"] for method, row in rows.items()} == {
        "linear": "torch", "onnx": "onnx", "random": "torch",
    }  # fmt: skip
    exported = OnnxWorldModel(tmp_path / "bundles/push_t-smoke")
    assert exported.manifest["parents"]["world_model"] == rows["onnx"]["model_sha256"]
