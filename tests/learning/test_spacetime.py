"""Space-time transformers: who sees whom, what is cached, and what a fresh block does."""

import pytest
import torch

from robot_wm.world_models.pixels.spacetime import (
    Block,
    SpaceTime,
    causal,
    keep,
    patches,
    pictures,
    side_by_side,
)

LAGS, GRID = 2, (2, 3)


@pytest.fixture
def body():
    torch.manual_seed(0)
    made = SpaceTime(16, 2, 2, GRID, LAGS)
    for name, parameter in made.named_parameters():
        if name.endswith(("ago", "scales")):  # which begin near nothing
            torch.nn.init.normal_(parameter)
    return made.eval()


def tokens(frames, seed=1):
    return torch.randn(3, frames, 6, 16, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_later_frame_changes_no_earlier_token(body):
    x = tokens(5)
    other = x.clone()
    other[:, 3] += 1
    before, after = body(x)[0], body(other)[0]
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=(0, 2, 3)).all()


@torch.no_grad()
def test_a_block_sees_so_many_frames_and_no_more():
    torch.manual_seed(0)
    block, x = SpaceTime(16, 1, 2, GRID, LAGS).eval(), tokens(5)
    other = x.clone()
    other[:, 0] += 1
    same = (block(x)[0] == block(other)[0]).all(dim=-1).all(dim=-1).all(dim=0)
    assert same.tolist() == [False, False, False, True, True]


@torch.no_grad()
def test_frames_are_told_apart_by_how_long_ago_they_were_not_by_when(body):
    x = tokens(3).repeat(1, 3, 1, 1)  # a film that repeats itself
    found = body(x)[0]
    # Two blocks look back two frames each: from the fifth on the beginning is out of sight.
    torch.testing.assert_close(found[:, 4:6], found[:, 7:9], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[:, 0], found[:, 3], atol=1e-3)


@torch.no_grad()
def test_what_is_cached_stands_for_the_frames(body):
    x = tokens(6)
    whole = body(x)[0]
    first, past = body(x[:, :4])
    # One row of the cache serves a whole batch.
    shared = [(k[:1], v[:1]) for k, v in keep(past, LAGS)]
    rest, more = body(x[:1, 4:5].expand(3, -1, -1, -1), past=shared)
    torch.testing.assert_close(first, whole[:, :4], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rest, whole[:1, 4:5].expand_as(rest), rtol=1e-5, atol=1e-5)
    assert more[0][0].shape == (3, LAGS + 1, 6, 16)
    last, _ = body(x[:1, 5:6], past=[(k[:1], v[:1]) for k, v in keep(more, LAGS)])
    torch.testing.assert_close(last, whole[:1, 5:6], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_stand_ins_see_true_frames_before_them_and_nobody_sees_them(body):
    true, stand_in = tokens(4), tokens(4, seed=2)[:, 1:]
    found = body(torch.cat([true, stand_in], dim=1), side_by_side(4, LAGS))[0]
    torch.testing.assert_close(found[:, :4], body(true)[0], rtol=1e-5, atol=1e-5)
    for t in range(1, 4):
        alone = body(torch.cat([true[:, :t], stand_in[:, t - 1 : t]], dim=1))[0]
        torch.testing.assert_close(found[:, 3 + t], alone[:, t], rtol=1e-5, atol=1e-5)


def test_who_sees_whom_is_told_in_frames():
    assert causal(3, 1).tolist() == [[0, -1, -1], [1, 0, -1], [-1, 1, 0]]
    assert causal(1, 2, cached=3).tolist() == [[-1, 2, 1, 0]]
    assert side_by_side(3, 2)[3:].tolist() == [[1, -1, -1, 0, -1], [2, 1, -1, -1, 0]]


@torch.no_grad()
def test_a_fresh_conditioned_block_is_the_identity():
    torch.manual_seed(0)
    block = Block(16, 2, 4, LAGS, conditioned=True)
    x, told, where = tokens(3), torch.randn(3, 3, 16), torch.randn(1, 6, 16)
    assert torch.equal(block(x, where, causal(3, LAGS), told)[0], x)
    block.modulation.weight.normal_()
    one, other = (block(x, where, causal(3, LAGS), c)[0] for c in (told, -told))
    assert not torch.allclose(one, x, atol=0.1)
    assert not torch.allclose(one, other, atol=0.1)


def test_patches_are_cut_in_reading_order_and_put_together_again():
    images = torch.arange(2 * 4 * 6 * 3).view(2, 4, 6, 3)
    rows = patches(images, 2)
    assert rows.shape == (2, 6, 12)
    assert torch.equal(rows[0, 4].view(2, 2, 3), images[0, 2:, 2:4])  # second row, second column
    assert torch.equal(pictures(rows, (4, 6), 2), images)
