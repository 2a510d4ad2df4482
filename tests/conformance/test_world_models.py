"""What every family of world models keeps to, and every YAML that names one."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import TINY, draw, make_dataset
from toy_family import FAMILY as LINEAR
from toy_family import LinearConfig

from robot_wm.cli.main import compose
from robot_wm.core.errors import InputError
from robot_wm.core.protocols import Editable, History, Proposer, Surprising, WorldModel
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.latent_cache import build_latents
from robot_wm.encoders.base import load_encoder
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.world_models.base import (
    OLDEST,
    WORLD_MODELS,
    Exportable,
    TrainingData,
    WorldModelFamily,
)
from robot_wm.world_models.dino_wm.network import DinoWMConfig
from robot_wm.world_models.dreamer.config import DreamerConfig
from robot_wm.world_models.genie.config import GenieConfig, TrueGenieConfig
from robot_wm.world_models.hierarchy.config import HierarchyConfig
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.latent_variable.config import LatentVariableConfig
from robot_wm.world_models.lewm.network import LeWMConfig
from robot_wm.world_models.sora.config import SoraConfig
from robot_wm.world_models.world_models_2018.config import WorldModels2018Config

ROOT = Path(__file__).parents[2]
FAMILIES = {**WORLD_MODELS, "toy": LINEAR}
# A training of seconds. A family that is added needs a line here, or the test below says so.
TINY_RUNS = {
    "genie": GenieConfig(
        task="square", codes=16, code_width=4, tokenizer_depth=1, tokenizer_steps=2,
        tokenizer_batch=4, action_depth=1, action_steps=2, action_batch=4, labels=8, label_steps=2,
        steps=2, width=16, depth=1, heads=2, batch=4, horizon=3, threads=1,
    ),
    "genie_true": TrueGenieConfig(
        task="square", codes=16, code_width=4, tokenizer_depth=1, tokenizer_steps=2,
        tokenizer_batch=4, steps=2, width=16, depth=1, heads=2, batch=4, horizon=3, threads=1,
    ),
    "sora": SoraConfig(
        task="square", channels=8, autoencoder_steps=2, autoencoder_batch=4, steps=2, width=16,
        depth=1, heads=2, batch=4, window=4, horizon=3, threads=1,
    ),
    "jepa": TrainConfig(
        task="square", steps=2, embedding_steps=2, dynamics_steps=2, batch=8, dynamics_batch=8,
        window=8, threads=1,
        reduced=4, reconstructed=2, channels=4,
        keypoints=2, embedding=6, embedding_width=8, embedding_blocks=1,
        embedding_frames=4, embedding_episodes=4, slow=2, width=16, blocks=1, horizon=3, heads=2,
        proposer_width=8, proposer_blocks=1, distance_width=8, distance_blocks=1,
    ),
    "hjepa": HierarchyConfig(  # over the tiny jepa
        "square", stride=2, macro=4, ahead=2, plans=4, heads=2, width=8, blocks=1, steps=2, batch=8,
        demonstration_noise=1.0, threads=1,
    ),
    "latent_variable": LatentVariableConfig(
        "square", steps=3, batch=4, horizon=3, width=16, depth=1, heads=2, latent=8, chunk=4,
    ),
    "lewm": LeWMConfig(
        "square", steps=3, batch=8, horizon=3, width=16, depth=1, heads=2, encoder_width=16,
        encoder_depth=1, encoder_heads=2, hidden=16, latent=8, directions=16,
    ),
    "dino_wm": DinoWMConfig(
        "square", steps=3, batch=4, horizon=3, width=16, depth=1, heads=2, chunk=4,
    ),
    "dreamer": DreamerConfig(
        "square", window=8, horizon=3, held_out=4, deter=16, blocks=4, groups=4, classes=4,
        hidden=8, depth=1, units=8, steps=2, batch=4, behaviour_steps=2, starts=4, imagined=3,
        threads=1,
    ),
    "world_models": WorldModels2018Config(
        "square", window=8, horizon=3, held_out=4, z=8, hidden=16, mixtures=2, vae_steps=2,
        vae_batch=8, rnn_steps=2, rnn_batch=8, generations=2, population=4, dreams=4, threads=1,
    ),
    "toy": LinearConfig("square", steps=5, horizon=3),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    root = tmp_path_factory.mktemp("conformance")
    store = make_dataset(root / "data", episodes=24, blocks=12)
    torch.manual_seed(0)
    save_encoder(root / "encoder", VideoEncoder(TINY), {}, {}, "random weights")
    encoder = load_encoder(root / "encoder")
    return TrainingData(
        [store.root], root / "encoder", lambda path: build_latents(path, encoder, root)
    )


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def stored(request, data, tmp_path_factory):
    """A family, and an artefact of it."""
    family: WorldModelFamily = FAMILIES[request.param]
    out, config = tmp_path_factory.mktemp(request.param), TINY_RUNS[request.param]
    if isinstance(config, HierarchyConfig):
        low = FAMILIES["jepa"].train(TINY_RUNS["jepa"], data, out / "low")
        config = replace(config, low=str(low))
    return family, family.train(config, data, out), data


def seen(seed: int, frames: int, spec) -> History:
    rng = np.random.default_rng(seed)
    images = np.stack([draw(rng.uniform(6, 26, 2)) for _ in range(frames)])
    actions = rng.uniform(-1, 1, (frames - 1, spec.action_dim)).astype(np.float32)
    return History(images, np.zeros((frames, 0), np.float32), actions)


def test_artefacts_name_family_parents_and_what_decided_them(stored) -> None:
    family, folder, data = stored
    manifest = read_manifest(folder, "world_model")
    assert manifest["facts"].get("family", OLDEST) == family.name
    assert manifest["parents"]["encoder"] == load_encoder(data.encoder).sha256
    assert {"config", "datasets"} <= manifest["facts"].keys()
    assert is_dataclass(family.config)
    assert set(family.free) <= set(family.config.__dataclass_fields__)
    assert not set(family.free) & set(manifest["facts"]["config"])
    assert {"folder", "encoder_folder", "cost", "illustrate"} <= set(
        inspect.signature(family.load).parameters
    )


def test_costs_are_pure_and_saved_models_are_equal(stored) -> None:
    family, folder, data = stored
    one, other = (family.load(folder, data.encoder) for _ in range(2))
    assert isinstance(one, WorldModel)
    spec = one.spec
    actions = np.random.default_rng(1).uniform(-1, 1, (9, 3, spec.action_dim)).astype(np.float32)
    state, goal = one.encode(seen(0, 2, spec)), one.encode(seen(1, 1, spec))
    costs = one.step_costs(state, goal, actions)
    assert (costs.dtype, costs.shape) == (np.float32, (9, 3))
    assert np.isfinite(costs).all()
    assert costs.tobytes() == one.step_costs(state, goal, actions).tobytes()
    np.testing.assert_allclose(one.step_costs(state, goal, actions[4:5]), costs[4:5], rtol=1e-4)
    told = other.encode(seen(0, 2, spec)), other.encode(seen(1, 1, spec))
    assert other.step_costs(*told, actions).tobytes() == costs.tobytes()


def test_proposals_stay_within_bounds_and_depend_on_the_seed_alone(stored) -> None:
    family, folder, data = stored
    model = family.load(folder, data.encoder)
    assert family.proposes == isinstance(model, Proposer)
    if not isinstance(model, Proposer):
        return
    spec = model.spec
    given = model.encode(seen(0, 2, spec)), model.encode(seen(1, 1, spec))
    first, again = (model.propose(*given, 7, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (7, spec.horizon, spec.action_dim)
    assert first.tobytes() == again.tobytes()
    assert (first >= np.float32(spec.action_low)).all()
    assert (first <= np.float32(spec.action_high)).all()


def test_clips_that_are_none_are_refused(stored) -> None:
    family, folder, data = stored
    model = family.load(folder, data.encoder)
    if not isinstance(model, Surprising):
        return
    clip = seen(0, 3, model.spec)
    assert model.surprise(clip.frames, clip.actions).shape == (2,)
    for frames, actions in (
        (clip.frames[:1], clip.actions[:0]), (clip.frames, clip.actions[:1]),
        (clip.frames, clip.actions + np.nan),
    ):  # fmt: skip
        with pytest.raises(InputError, match="two frames or more"):
            model.surprise(frames, actions)


def test_latents_can_be_moved_and_what_follows_moves_with_them(stored) -> None:
    family, folder, data = stored
    model = family.load(folder, data.encoder)
    if not isinstance(model, Editable):
        return
    spec, clip = model.spec, seen(0, 2, model.spec)
    latents = model.latents(clip.frames)
    assert latents.dtype == np.float32
    np.testing.assert_allclose(model.latents(clip.frames[1:]), latents[1:], rtol=1e-3, atol=1e-4)
    actions = np.random.default_rng(1).uniform(-1, 1, (spec.horizon, spec.action_dim))
    actions = actions.astype(np.float32)
    follows = model.continued(latents, clip.actions[0], actions)
    assert follows.shape == (spec.horizon, latents.shape[1])
    assert follows.tobytes() == model.continued(latents, clip.actions[0], actions).tobytes()
    assert np.isfinite(follows).all()
    # Not all numbers alike: layer norm takes that away, and what is left is rounding.
    way = np.random.default_rng(2).standard_normal(latents.shape).astype(np.float32)
    moved = model.continued(latents + np.float32(0.5) * way, clip.actions[0], actions)
    assert np.abs(moved - follows).max() > 1e-6


def test_numbers_can_be_moved_and_names_of_codes_cannot(stored) -> None:
    family, folder, data = stored
    able = isinstance(family.load(folder, data.encoder), Editable)
    if family.name in ("jepa", "lewm", "dino_wm", "dreamer", "world_models", "sora"):
        assert able
    elif family.name.startswith("genie"):
        assert not able


def test_what_is_exported_costs_alike(stored) -> None:
    family, folder, data = stored
    model = family.load(folder, data.encoder)
    if not isinstance(model, Exportable):
        return
    parts, spec = model.export_parts(), model.spec
    frames = np.concatenate([seen(0, 2, spec).frames, seen(1, 1, spec).frames])
    actions = np.random.default_rng(1).uniform(-1, 1, (5, parts.horizon, spec.action_dim))
    with torch.inference_mode():
        z, novelty = parts.encode(torch.from_numpy(frames))
        assert (z.shape, novelty.shape) == ((3, parts.latent), (3,))
        before = torch.from_numpy(seen(0, 2, spec).actions)
        rows = torch.from_numpy(actions.astype(np.float32))
        found = parts.step_costs(z[:1], z[1:2], before, z[2:], rows).numpy()
    given = model.encode(seen(0, 2, spec)), model.encode(seen(1, 1, spec))
    wanted = model.step_costs(*given, actions.astype(np.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*model/*.yaml")), ids=lambda p: p.stem
)
def test_every_yaml_makes_a_training(path: Path) -> None:
    settings = compose([f"{path.parent.name}={path.stem}"])
    assert settings.family is WORLD_MODELS[settings.family.name]
    assert isinstance(settings.train_config(), settings.family.config)
