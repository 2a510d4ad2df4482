"""The encoder: exact shortcuts, masking, positions, and the frozen artefact."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from robot_wm.checkpoint import WEIGHTS
from robot_wm.encoder import (
    EncoderConfig,
    FrozenEncoder,
    VideoEncoder,
    position_table,
    save_encoder,
    take,
)
from robot_wm.errors import ConfigError, InputError, WeightsError
from robot_wm.manifest import write_manifest

TINY = EncoderConfig(image_size=16, patch=4, width=16, depth=2, heads=2, mlp_ratio=2)


@pytest.fixture
def encoder() -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(TINY).eval()


def images(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (*shape, 16, 16, 3), generator=generator, dtype=torch.uint8)


def test_still_image_equals_a_repeated_pair(encoder: VideoEncoder) -> None:
    still = images(3, 1)
    pair = still.expand(-1, 2, -1, -1, -1)
    # Only the order of two additions differs: a few float32 rounding steps.
    torch.testing.assert_close(encoder(still), encoder(pair), atol=1e-6, rtol=1e-5)


def test_keeping_every_token_equals_no_mask_and_order_follows_keep(encoder: VideoEncoder) -> None:
    still = images(2, 1)
    order = torch.stack([torch.randperm(TINY.tokens), torch.randperm(TINY.tokens)])
    masked, whole = encoder(still, order), encoder(still)
    torch.testing.assert_close(masked, take(whole, order), atol=1e-5, rtol=1e-5)


def test_dropped_tokens_have_no_influence_and_kept_ones_do(encoder: VideoEncoder) -> None:
    still = images(1, 1)
    keep = torch.tensor([[0, 5, 9]])
    before = encoder(still, keep)
    changed = still.clone()
    changed[:, :, :4, 4:8] += 50  # token 1, not kept
    assert torch.equal(encoder(changed, keep), before)
    changed[:, :, :4, :4] += 50  # token 0, kept
    assert (encoder(changed, keep) - before).abs().max() > 1e-3


def test_tokens_follow_the_grid_row_by_row() -> None:
    encoder = VideoEncoder(TINY)
    still = torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8)
    still[0, 0, 4:8, 8:12] = 255  # row 1, column 2 of a 4 x 4 grid
    patches, times = encoder._patches(still)
    assert times == 1
    assert patches[0].float().mean(1).argmax() == 1 * 4 + 2


def test_positions_are_distinct_and_time_zero_is_plain() -> None:
    clip = position_table(3, 4, 16)
    torch.testing.assert_close(clip[:16], position_table(1, 4, 16))
    distances = torch.cdist(clip, clip) + torch.eye(48) * 9
    assert distances.min() > 0.1


def test_clips_use_both_frames_of_a_tubelet_and_time(encoder: VideoEncoder) -> None:
    clip = images(1, 4)
    tokens = encoder(clip)
    assert tokens.shape == (1, 2 * TINY.tokens, 16)
    swapped = encoder(clip[:, [2, 3, 0, 1]])
    # Without a time code, swapping the tubelets would only permute the tokens.
    assert (swapped[:, TINY.tokens :] - tokens[:, : TINY.tokens]).abs().max() > 1e-2


def test_encode_frames_is_forward_frame_by_frame(encoder: VideoEncoder) -> None:
    frames = images(5)
    alone = torch.cat([encoder(frame[None, None]) for frame in frames]).detach()
    tokens = encoder.encode_frames(frames.numpy(), batch=2)
    torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)
    assert not tokens.requires_grad


def test_residual_outputs_shrink_with_depth(encoder: VideoEncoder) -> None:
    wide = VideoEncoder(EncoderConfig(width=128, depth=2))
    first, second = (block.fc2.weight.std().item() for block in wide.body.blocks)
    # trunc_normal(.02) / √2 and / √4; 65,536 samples put the estimate within 1 %.
    assert first == pytest.approx(0.02 / 2**0.5, rel=0.02)
    assert second == pytest.approx(0.02 / 2, rel=0.02)


def test_frozen_encoder_round_trip(encoder: VideoEncoder, tmp_path) -> None:
    manifest = save_encoder(tmp_path / "e", encoder, {"data": "abc"}, {}, "# card\n")
    frozen = FrozenEncoder.load(tmp_path / "e")
    assert frozen.sha256 == manifest["sha256"]
    assert frozen.config == TINY
    assert torch.equal(frozen.encode_frames(images(2)), encoder.encode_frames(images(2)))
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not frozen.train().training


def test_wrong_shape_is_refused(encoder: VideoEncoder, tmp_path) -> None:
    folder = tmp_path / "e"
    manifest = save_encoder(folder, encoder, {}, {}, "")
    tensors = load_file(folder / WEIGHTS)
    tensors["embed.weight"] = tensors["embed.weight"][:, :-1].contiguous()
    save_file(tensors, folder / WEIGHTS)
    write_manifest(folder, manifest["kind"], {}, {})  # honest hashes, so only the shape is wrong
    with pytest.raises(WeightsError, match=r"embed\.weight"):
        FrozenEncoder.load(folder)


def test_user_mistakes(encoder: VideoEncoder) -> None:
    with pytest.raises(ConfigError):
        EncoderConfig(image_size=60)
    with pytest.raises(InputError):
        encoder(images(1, 3))
    with pytest.raises(InputError):
        encoder(torch.zeros(1, 1, 8, 8, 3))


def test_pixel_normalisation_is_inside(encoder: VideoEncoder) -> None:
    grey = np.full((1, 16, 16, 3), 255 * TINY.pixel_mean)  # maps to zero: only bias + positions
    tokens = encoder(torch.from_numpy(grey).float()[:, None])
    blank = encoder.body(encoder.embed.bias + position_table(1, 4, 16)[None])
    torch.testing.assert_close(tokens, blank, atol=1e-5, rtol=1e-5)
