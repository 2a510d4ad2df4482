"""Somebody else's world model and objective, as if installed with pip: no other file knows them."""

from __future__ import annotations

from collections.abc import Callable
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
from robot_wm.core import registry
from robot_wm.core.errors import ConfigError, DataError, WeightsError
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

THEIRS = {
    "robot_wm.world_models": {"linear": "toy_family:FAMILY"},
    "robot_wm.objectives": {"brightness": "toy_objective:Brightness"},
}
SMOKE = ("experiment=smoke", "encoder_tasks=push_t", "workers=1", "threads=1")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of a package beside this one."""
    real: Callable[..., object] = registry.entry_points

    def entry_points(group: str) -> list[object]:
        theirs = [SimpleNamespace(name=n, value=v) for n, v in THEIRS.get(group, {}).items()]
        return [*real(group=group), *theirs]  # type: ignore[attr-defined]

    monkeypatch.setattr(registry, "entry_points", entry_points)


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


def test_a_model_is_loaded_by_what_its_manifest_says(installed: None, place) -> None:
    assert family_of(place[0]) is FAMILY
    model = load_world_model(*place)
    assert isinstance(model, LinearModel)
    assert set(model.spec.hashes) == {"encoder", "dataset", "world_model"}


def test_one_that_is_not_installed_is_named(place) -> None:
    with pytest.raises(WeightsError, match=r"family .linear.*jepa"):
        load_world_model(*place)
    with pytest.raises(WeightsError, match="cannot read"):
        load_world_model(place[0] / "nowhere", place[1])


def test_it_plans_in_the_point_world(installed: None, place) -> None:
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


def test_what_a_family_cannot_do_is_a_typed_error(installed: None, place, tmp_path) -> None:
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


def test_their_objective_pretrains(installed: None, tmp_path: Path) -> None:
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
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export.build.stage import bundle
    from export.runtime.world_model import OnnxWorldModel
    from planning.commands.evaluate import evaluate_all
    from robot_wm.cli.main import Session, compose
    from robot_wm.commands.parts.artifacts import model
    from robot_wm.core.storage.provenance import read_manifest

    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    made = compose([*SMOKE, "weights=smoke"])
    settings = replace(
        made, method=("mpc", "onnx", "random"), train={}, model={"family": "linear", "horizon": 5},
        objective=replace(made.objective, name="brightness", options={}),
        evaluate=replace(made.evaluate, validation=2),
    )  # fmt: skip
    settings.check()
    session = Session(settings, SMOKE)
    folder, encoder = model(session)  # collects, pretrains and trains
    assert family_of(folder) is FAMILY
    facts = read_manifest(encoder, "encoder")["facts"]
    assert facts["pretrain"]["objective"] == "brightness"
    rows, _ = evaluate_all(session)
    named = {row["method"]: row["backend"] for row in rows}
    assert named == {"linear": "torch", "onnx": "onnx", "random": "torch"}
    assert rows[1]["row"] == rows[2]["row"] == "official/push_t"
    exported = OnnxWorldModel(bundle(session))
    assert exported.manifest["parents"]["world_model"] == rows[1]["model_sha256"]
