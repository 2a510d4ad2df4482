"""Masks partition the tokens, are uniform, and repeat with their seed."""

import numpy as np
import pytest

from robot_wm.core.errors import ConfigError
from robot_wm.pretraining.masking import Mask, future_frame, multiblock, random_tokens


def is_partition(mask: Mask, tokens: int) -> bool:
    both = np.concatenate(mask, axis=1)
    return bool((np.sort(both, axis=1) == np.arange(tokens)).all())


def test_random_and_future_masks_partition_every_row() -> None:
    rng = np.random.default_rng(0)
    half, future = random_tokens(rng, 32, 64, 0.5), future_frame(rng, 32, 64)
    assert half.visible.shape == (32, 32)
    assert future.visible.shape == (32, 8)
    assert is_partition(half, 64)
    assert is_partition(future, 64)


def test_every_token_is_equally_likely() -> None:
    mask = future_frame(np.random.default_rng(0), 20_000, 16, visible=4)
    share = np.bincount(mask.visible.ravel(), minlength=16) / 20_000
    # Binomial(20,000, 1/4): standard error .003, so 5 of them.
    np.testing.assert_allclose(share, 0.25, atol=0.0155)


def test_multiblock_hides_rectangles_reaching_the_last_row() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = multiblock(rng, 64, (8, 8), blocks=1, area=0.25, aspect=(1.0, 1.0))
        assert is_partition(mask, 64)  # one block: all rows hide the same number, nothing is cut
        grid = np.zeros((64, 64), bool)
        np.put_along_axis(grid, mask.masked, True, axis=1)
        y, x = np.nonzero(grid.reshape(64, 8, 8).any(0))
        assert (y.max(), x.max(), y.min(), x.min()) == (7, 7, 0, 0)
        assert (grid.reshape(64, 8, 8).any(2).sum(1) == 4).all()


def test_multiblock_cuts_to_the_batch_minimum_and_keeps_enough() -> None:
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(200):
        mask = multiblock(rng, 16, (8, 8), blocks=8, area=0.15, min_visible=8)
        assert mask.visible.shape[1] >= 8
        for seen, hidden in zip(*mask, strict=True):
            assert not set(seen) & set(hidden)
            assert len(set(seen)) == len(seen)
        kept.append(mask.visible.shape[1] + (64 - mask.masked.shape[1]))
    # 8 x .15 leaves 36 % of an 8 x 8 grid on average; smallest and largest of a batch bracket it.
    assert np.mean(kept) / 2 / 64 == pytest.approx(0.36, abs=0.05)


def test_same_seed_same_mask() -> None:
    for sampler in (
        lambda rng: future_frame(rng, 4, 64),
        lambda rng: random_tokens(rng, 4, 64),
        lambda rng: multiblock(rng, 4, (8, 8)),
    ):
        one, two, three = (sampler(np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
        assert one.visible.shape != three.visible.shape or (one.visible != three.visible).any()


def test_impossible_masks_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError):
        random_tokens(rng, 2, 4, ratio=1.0)
    with pytest.raises(ConfigError):
        future_frame(rng, 2, 4, visible=4)
    with pytest.raises(ConfigError):
        multiblock(rng, 2, (8, 8), blocks=1, area=1.0, aspect=(1.0, 1.0))


def test_blocks_reach_every_edge_of_an_oblong_grid() -> None:
    rng, seen = np.random.default_rng(0), np.zeros((3, 5), bool)
    for _ in range(20):
        mask = multiblock(rng, 8, (3, 5), blocks=1, area=0.2, min_visible=4)
        assert mask.visible.shape[1] + mask.masked.shape[1] <= 15
        seen.flat[mask.masked.flatten()] = True
    assert seen.all()
