"""What every encoder keeps to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from moving_square import TINY, make_dataset
from patch_encoder import NAME, save_patches

from robot_wm.cli.main import Session, compose
from robot_wm.commands.parts.artifacts import encoder
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.data.latent_cache import build_latents
from robot_wm.encoders.base import ENCODERS, load_encoder
from robot_wm.encoders.contrast import CHANNELS, contrast
from robot_wm.encoders.frozen import FrozenEncoder, save_encoder
from robot_wm.encoders.untrained import PatchEncoder, RandomEncoder
from robot_wm.encoders.vit import VideoEncoder
from robot_wm.pretraining.collapse_metrics import pixel_tokens
from robot_wm.world_models.jepa.model import JEPAWorldModel
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.jepa.training.trainer import train

ROOT = Path(__file__).parents[2]


def tiny_vit(folder: Path) -> Path:
    torch.manual_seed(0)
    save_encoder(folder, VideoEncoder(TINY), {}, {"family": "vit"}, "a card")
    return folder


def random_weights(folder: Path) -> Path:
    return RandomEncoder.create(TINY, 0, folder)


def raw_patches(folder: Path) -> Path:
    return PatchEncoder.create(TINY, 0, folder)


# A tiny artefact of every family, written into a folder; one that is missing here fails below.
SAMPLES: dict[str, Callable[[Path], Path]] = {
    "vit": tiny_vit, "random": random_weights, "patches": raw_patches, NAME: save_patches,
}  # fmt: skip


@pytest.fixture(params=sorted({*ENCODERS, NAME}))
def folder(request, tmp_path: Path, installed) -> Path:
    """An artefact of every family; somebody else's is as good as ours."""
    installed("robot_wm.encoders", NAME, "patch_encoder:PatchEncoder")
    return SAMPLES[request.param](tmp_path / "e")


def test_frames_are_encoded_alone_and_nothing_learns(folder: Path) -> None:
    encoder = load_encoder(folder)
    assert encoder.sha256 == read_manifest(folder, "encoder")["sha256"]
    size = encoder.config.image_size
    frames = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
    tokens = encoder.encode_frames(frames)
    assert (tokens.ndim, len(tokens), tokens.dtype) == (3, 5, torch.float32)
    assert not tokens.requires_grad
    assert not encoder.train().training
    assert not any(p.requires_grad for p in encoder.parameters())
    torch.testing.assert_close(encoder.encode_frames(frames[2:3]), tokens[2:3])
    torch.testing.assert_close(encoder(torch.from_numpy(frames[:, None])), tokens)
    assert torch.equal(load_encoder(folder).encode_frames(frames), tokens)


def test_the_world_model_of_the_house_learns_from_its_tokens(folder: Path, tmp_path: Path) -> None:
    encoder, store = load_encoder(folder), make_dataset(tmp_path / "data", 12, 4, 3)
    latents = build_latents(store.root, encoder, tmp_path)
    config = TrainConfig(
        "square", steps=2, dynamics_steps=2, batch=4, dynamics_batch=4, window=4, reduced=8,
        channels=4, keypoints=2, width=16, blocks=1, heads=2, proposer_width=8, proposer_blocks=1,
        distance_width=8, distance_blocks=1, reconstructed=4, goal_frames=2,
    )  # fmt: skip
    made = train(config, store.root, latents, encoder, tmp_path / "run")
    assert JEPAWorldModel.load(made, folder).network.sizes.grid == (4, 4)
    for wrong in ({}, {"grid": (2, 4)}, {"grid": 16}):
        encoder.config = SimpleNamespace(image_size=32, **wrong)
        with pytest.raises(ConfigError, match=r"16 tokens.*config\.grid") as told:
            train(config, store.root, latents, encoder, tmp_path / "other")
        assert str(wrong.get("grid")) in told.value.received


def test_a_damaged_one_is_refused(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError):
        load_encoder(folder)


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "configs/encoder").glob("*.yaml")))
def test_every_yaml_makes_an_encoder(name: str) -> None:
    assert compose([f"encoder={name}"]).encoder_config().image_size == 64


def test_raw_patches_are_the_picture_and_random_weights_follow_the_seed(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    tokens = load_encoder(raw_patches(tmp_path / "p")).encode_frames(frames)
    np.testing.assert_allclose(tokens, pixel_tokens(TINY.patch)(frames), atol=1e-7)
    made = [load_encoder(RandomEncoder.create(TINY, seed, tmp_path / f"{k}")).sha256
            for k, seed in enumerate((0, 0, 1))]  # fmt: skip
    assert made[0] == made[1] != made[2]
    weights = FrozenEncoder.load(tmp_path / "0").state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(weights[k], v) for k, v in VideoEncoder(TINY).state_dict().items())


def test_patches_of_contrast_are_those_of_the_picture_without_its_colours(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    blind = replace(TINY, sees="contrast")
    one, other = (load_encoder(PatchEncoder.create(config, 0, tmp_path / config.sees))
                  for config in (blind, TINY))  # fmt: skip
    assert one.config.sees == "contrast"
    assert one.sha256 != other.sha256  # no latent cache of one is taken for the other's
    tokens = one.encode_frames(frames)
    assert tokens.shape == (3, TINY.tokens, CHANNELS * TINY.patch**2)
    # The first token is the upper left patch of what is seen.
    seen = contrast(torch.from_numpy(frames))[:, : TINY.patch, : TINY.patch]
    torch.testing.assert_close(tokens[:, 0], seen.flatten(1))
    torch.testing.assert_close(one.encode_frames(frames[..., ::-1].copy()), tokens)  # red is blue


def test_what_learns_nothing_is_made_at_once_and_told_from_what_does(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("ROBOT_WM_HOME", str(tmp_path))
    for family in ("random", "patches"):
        asked = Session(compose([f"encoder={family}", f"name={family}"]), ())
        assert encoder(asked) == encoder(asked)  # made, then found
        other = Session(compose([f"encoder={family}", f"name={family}", "encoder.patch=16"]), ())
        with pytest.raises(DataError, match="patch"):
            encoder(other)
        with pytest.raises(DataError, match="objective"):
            encoder(Session(compose([f"name={family}"]), ()))
    assert not (tmp_path / "datasets").exists()
