"""The encoder: exact shortcuts, masking, positions, and the frozen artefact."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from robot_wm.core.errors import ConfigError, InputError, WeightsError
from robot_wm.core.storage.provenance import write_manifest
from robot_wm.encoders.frozen import FrozenEncoder, save_encoder
from robot_wm.encoders.transformer import Block, position_table, take
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder
from robot_wm.training.checkpoint import WEIGHTS

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
    changed[:, :, :4, 4:8] = still[:, :, :4, 4:8].flip(2)  # token 1, not kept; same mean colour
    assert torch.equal(encoder(changed, keep), before)
    changed[:, :, :4, :4] = still[:, :, :4, :4].flip(2)  # token 0, kept
    assert (encoder(changed, keep) - before).abs().max() > 0.05


def test_tokens_follow_the_grid_row_by_row() -> None:
    encoder = VideoEncoder(TINY)
    still = torch.zeros(1, 1, 16, 16, 3, dtype=torch.uint8)
    still[0, 0, 4:8, 8:12] = 255  # row 1, column 2 of a 4 x 4 grid
    patches, times = encoder._patches(still)
    assert times == 1
    assert patches[0].float().mean(1).argmax() == 1 * 4 + 2


def test_positions_are_distinct_and_time_zero_is_plain() -> None:
    clip = position_table(3, (4, 4), 16)
    torch.testing.assert_close(clip[:16], position_table(1, (4, 4), 16))
    distances = torch.cdist(clip, clip) + torch.eye(48) * 9
    assert distances.min() > 0.1


def test_clips_use_both_frames_of_a_tubelet_and_time(encoder: VideoEncoder) -> None:
    clip = images(1, 4)
    tokens = encoder(clip)
    assert tokens.shape == (1, 2 * TINY.tokens, 16)
    swapped = encoder(clip[:, [2, 3, 0, 1]])
    # Without a time code, swapping the tubelets would only permute the tokens, up to rounding. It
    # enters attention alone, of which a fresh block passes on a tenth.
    assert (swapped[:, TINY.tokens :] - tokens[:, : TINY.tokens]).abs().max() > 1e-4
    still = encoder.positions.repeat(2, 1)
    encoder._positions = lambda times: still
    swapped, tokens = encoder(clip[:, [2, 3, 0, 1]]), encoder(clip)
    torch.testing.assert_close(swapped[:, TINY.tokens :], tokens[:, : TINY.tokens])


def test_encode_frames_is_forward_frame_by_frame(encoder: VideoEncoder) -> None:
    frames = images(5)
    alone = torch.cat([encoder(frame[None, None]) for frame in frames]).detach()
    tokens = encoder.encode_frames(frames.numpy(), batch=2)
    torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)
    assert not tokens.requires_grad


def test_a_fresh_block_is_the_identity_up_to_its_layer_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    block, x = Block(32, 2, 4), torch.randn(3, 10, 32, generator=generator)
    where = torch.randn(1, 10, 32, generator=generator)
    fresh = block(x, where)
    # Each branch's own output has a norm below the input's; a tenth of both moves it little.
    assert 0.001 < (fresh - x).norm() / x.norm() < 0.1
    with torch.no_grad():
        block.scale2.zero_()
        attended = block(x, where) - x
        block.scale1.fill_(1.0)
        whole = block(x, where) - x
        torch.testing.assert_close(attended, 0.1 * whole, atol=1e-6, rtol=1e-4)
        block.scale1.zero_()
        assert torch.equal(block(x, where), x)


def test_positions_steer_attention_and_carry_no_content() -> None:
    torch.manual_seed(0)
    block, x = Block(32, 2, 4), torch.randn(3, 10, 32)
    first, second = torch.randn(2, 1, 10, 32).unbind(0)
    with torch.no_grad():
        assert (block(x, first) - block(x, second)).abs().max() > 1e-3
        # Equal tokens stay equal, wherever they are: whatever is attended to, it is the same.
        same = block(x[:, :1].expand(-1, 10, -1), first)
        torch.testing.assert_close(same, same[:, :1].expand(-1, 10, -1), atol=1e-6, rtol=0)


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
    # A plain image has no contrast: whatever its colour, every token is that of a zero patch.
    plain = torch.tensor([30.0, 200.0, 90.0]).expand(1, 1, 16, 16, 3)
    zero = encoder.mix(torch.nn.functional.gelu(encoder.embed.bias))
    blank = encoder.body(zero.expand(1, 16, -1), encoder.positions)
    torch.testing.assert_close(encoder(plain), blank, atol=1e-5, rtol=1e-5)
    # Half the contrast at half the scale is the same picture.
    half = VideoEncoder(replace(TINY, pixel_scale=TINY.pixel_scale / 2)).eval()
    half.load_state_dict(encoder.state_dict())
    still = images(2, 1).float()
    torch.testing.assert_close(half(still / 2), encoder(still), atol=1e-5, rtol=1e-5)


def test_a_colour_offset_of_the_whole_image_changes_nothing(encoder: VideoEncoder) -> None:
    still = images(3, 1) // 2  # up to 127, so that nothing is clipped
    offset = torch.tensor([100, 0, 30], dtype=torch.uint8)
    before = encoder(still)
    # Means of 256 pixels are taken again: a few float32 rounding steps of 255.
    torch.testing.assert_close(encoder(still + offset), before, atol=1e-5, rtol=1e-5)
    part = still.clone()
    part[:, :, :8] += offset
    assert (encoder(part) - before).abs().max() > 0.05


def test_oblong_pictures_are_cut_into_rows_and_columns() -> None:
    config = EncoderConfig(image_size=(8, 16), patch=4, width=16, depth=1, heads=2)
    assert (config.grid, config.tokens) == ((2, 4), 8)
    torch.manual_seed(0)
    encoder = VideoEncoder(config).eval()
    frames = torch.zeros(2, 8, 16, 3, dtype=torch.uint8)
    frames[1, 4:8, 12:16] = 200  # second row, fourth column
    assert encoder.encode_frames(frames).shape == (2, 8, 16)
    patches, _ = encoder._patches(frames[:, None])
    changed = (patches[1] - patches[1, 0]).abs().amax(-1) > 1
    assert changed.nonzero().flatten().tolist() == [7]
    assert encoder.positions.shape == (8, 16)
    torch.testing.assert_close(encoder.positions[0, :8], encoder.positions[3, :8])  # the same row
    with pytest.raises(InputError, match="8, 16, 3"):
        encoder(torch.zeros(1, 1, 16, 8, 3))
    with pytest.raises(ConfigError, match="image 18x8"):
        EncoderConfig(image_size=(8, 18), patch=4, width=16, heads=2)
