"""Which tokens the context encoder may see. Every sampler draws from the generator it is given."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from robot_wm.core.errors import ConfigError


class BlockMask(NamedTuple):
    """I-JEPA's: context ``[B, K]`` and, of each of ``T`` targets, its tokens ``[B, T, M]``; int64.

    Targets may overlap each other; the context overlaps none of them.
    """

    context: np.ndarray
    targets: np.ndarray


class Mask(NamedTuple):
    """Token indices of one frame per row, int64, ascending: seen ``[B, K]``, hidden ``[B, M]``."""

    visible: np.ndarray
    masked: np.ndarray


def random_tokens(rng: np.random.Generator, batch: int, tokens: int, ratio: float = 0.5) -> Mask:
    """Hide a random ``ratio`` of the tokens of each row (rounded).

    Raises:
        ConfigError: nothing would be seen or nothing hidden.
    """
    return _split(rng, batch, tokens, tokens - round(ratio * tokens))


def future_frame(rng: np.random.Generator, batch: int, tokens: int, visible: int = 8) -> Mask:
    """Mask of the *second* frame of a clip whose first is seen whole: ``visible`` random tokens.

    Raises:
        ConfigError: nothing would be seen or nothing hidden.
    """
    return _split(rng, batch, tokens, visible)


def _split(rng: np.random.Generator, batch: int, tokens: int, visible: int) -> Mask:
    if not 0 < visible < tokens:
        raise ConfigError(
            f"{visible} visible tokens of {tokens}", f"1 to {tokens - 1}", "change the mask's ratio"
        )
    order = rng.random((batch, tokens)).argsort(axis=1)
    return Mask(np.sort(order[:, :visible], axis=1), np.sort(order[:, visible:], axis=1))


def multiblock(
    rng: np.random.Generator,
    batch: int,
    grid: tuple[int, int],
    blocks: int = 8,
    area: float = 0.15,
    aspect: tuple[float, float] = (0.75, 1.5),
    min_visible: int = 8,
) -> Mask:
    """V-JEPA's multi-block mask, meant as a tube: the caller applies it to every frame.

    The block size is drawn once per batch, positions per row; rows with fewer than ``min_visible``
    tokens left are redrawn, and index lists are cut at random to the batch minimum (no padding).
    Positions run over ``rows - h + 1`` places: the published code never masks the last row.

    Args:
        grid: rows and columns of patches.
        blocks, area: number of blocks and the share of the grid each covers.
        aspect: range of height over width.

    Raises:
        ConfigError: this setting practically never leaves ``min_visible`` tokens.
    """
    (rows, columns), ratio = grid, rng.uniform(*aspect)
    h = min(rows, max(1, round(math.sqrt(area * ratio) * rows)))
    w = min(columns, max(1, round(math.sqrt(area / ratio) * columns)))
    hidden = np.zeros((batch, rows, columns), bool)
    todo = np.arange(batch)
    for _ in range(100):
        hidden[todo] = _rectangles(rng, len(todo), grid, blocks, h, w).any(1)
        todo = np.flatnonzero((~hidden).sum(axis=(1, 2)) < min_visible)
        if not len(todo):
            break
    else:
        raise ConfigError(
            f"{blocks} blocks of {h}x{w} on a {rows}x{columns} grid",
            f"masks that leave {min_visible} tokens",
            "use fewer or smaller blocks (objective.options.tube_blocks, tube_area)",
        )
    flat = hidden.reshape(batch, -1)
    # Random keys order each row: the wanted class first, in random order; then cut to the minimum.
    key = rng.random(flat.shape)
    seen = (key + flat).argsort(axis=1)[:, : int((~flat).sum(axis=1).min())]
    away = (key + ~flat).argsort(axis=1)[:, : int(flat.sum(axis=1).min())]
    return Mask(np.sort(seen, axis=1), np.sort(away, axis=1))


def target_blocks(
    rng: np.random.Generator,
    batch: int,
    grid: tuple[int, int],
    targets: int = 4,
    area: tuple[float, float] = (0.15, 0.2),
    aspect: tuple[float, float] = (0.75, 1.5),
    context: tuple[float, float] = (0.85, 1.0),
    min_context: int = 10,
) -> BlockMask:
    """I-JEPA's masks (arXiv:2301.08243): a few target blocks, and a large context without them.

    Sizes are drawn once per batch, positions per row; rows with fewer than ``min_context`` tokens
    of context are redrawn, and the context is cut at random to the batch minimum (no padding).
    Blocks reach the last row and column, which the published sampler never does.

    Args:
        grid: rows and columns of patches.
        targets: number of target blocks.
        area, aspect: ranges of a target's share of the grid and of its height over width.
        context: range of the context's share; its aspect is the grid's.

    Raises:
        ConfigError: this setting practically never leaves ``min_context`` tokens.
    """
    rows, columns = grid
    h, w = _size(rng, grid, area, aspect)
    tall, wide = _size(rng, grid, context, (1.0, 1.0))
    places = np.zeros((batch, targets, rows, columns), bool)
    seen = np.zeros((batch, rows, columns), bool)
    todo = np.arange(batch)
    for _ in range(100):
        every = _rectangles(rng, len(todo), grid, targets, h, w)
        around = _rectangles(rng, len(todo), grid, 1, tall, wide)[:, 0]
        places[todo], seen[todo] = every, around & ~every.any(1)
        todo = np.flatnonzero(seen.sum(axis=(1, 2)) < min_context)
        if not len(todo):
            break
    else:
        raise ConfigError(
            f"{targets} targets of {h}x{w} on a {rows}x{columns} grid",
            f"masks that leave {min_context} tokens of context",
            "use fewer or smaller targets (objective.options.targets, target_area)",
        )
    flat = seen.reshape(batch, -1)
    key = rng.random(flat.shape) + ~flat
    kept = key.argsort(axis=1)[:, : int(flat.sum(axis=1).min())]
    where = np.nonzero(places.reshape(batch * targets, -1))[1]
    return BlockMask(np.sort(kept, axis=1), where.reshape(batch, targets, -1))


def _size(
    rng: np.random.Generator,
    grid: tuple[int, int],
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tuple[int, int]:
    """Rows and columns of a block of a random share of the grid and height over width."""
    share, ratio = rng.uniform(*area), rng.uniform(*aspect)
    sides = (math.sqrt(share * ratio) * grid[0], math.sqrt(share / ratio) * grid[1])
    h, w = (min(most, max(1, round(side))) for side, most in zip(sides, grid, strict=True))
    return h, w


def _rectangles(
    rng: np.random.Generator, count: int, grid: tuple[int, int], blocks: int, h: int, w: int
) -> np.ndarray:
    """``blocks`` random h x w rectangles for each of ``count``: bool ``[count, blocks, …grid]``."""
    rows, columns = grid
    top = rng.integers(0, rows - h + 1, (count, blocks, 1))
    left = rng.integers(0, columns - w + 1, (count, blocks, 1))
    y, x = np.arange(rows), np.arange(columns)
    in_y = (y >= top) & (y < top + h)
    in_x = (x >= left) & (x < left + w)
    found: np.ndarray = in_y[:, :, :, None] & in_x[:, :, None, :]
    return found
