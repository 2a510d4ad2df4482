"""What every encoder keeps to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from moving_square import TINY

from robot_wm.cli.main import compose
from robot_wm.core.errors import WeightsError
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.encoders.base import ENCODERS, load_encoder
from robot_wm.encoders.frozen import save_encoder
from robot_wm.encoders.vit import VideoEncoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=sorted(ENCODERS))
def folder(request, tmp_path: Path) -> Path:
    """An artefact of every family."""
    assert request.param == "vit", "make a tiny one of the new family here"
    torch.manual_seed(0)
    save_encoder(tmp_path / "e", VideoEncoder(TINY), {}, {"family": request.param}, "a card")
    return tmp_path / "e"


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


def test_a_damaged_one_is_refused(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError):
        load_encoder(folder)


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "configs/encoder").glob("*.yaml")))
def test_every_yaml_makes_an_encoder(name: str) -> None:
    assert compose([f"encoder={name}"]).encoder_config().image_size == 64
