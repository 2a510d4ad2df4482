"""Transformer blocks and position tables."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sincos(positions: Tensor, width: int, period: float = 100.0) -> Tensor:
    """Sines and cosines of positions ``[L]`` at ``width/2`` frequencies: float32 ``[L, width]``.

    The period is short because our grids are: with 10,000 most channels would never move.
    """
    frequency = period ** -(torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angle = positions.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def position_table(times: int, grid: tuple[int, int], width: int) -> Tensor:
    """Fixed positions of a (time, y, x) token grid, float32 ``[times * rows * columns, width]``.

    Half the channels code y, half x; time is added as its difference from time 0, so that a
    still image carries the plain two-dimensional table whatever the length of training clips.
    """
    rows, columns = grid
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    plane = torch.cat([sincos(y.flatten(), width // 2), sincos(x.flatten(), width // 2)], dim=1)
    time = sincos(torch.arange(times), width)
    return (plane + (time - time[:1])[:, None]).reshape(times * rows * columns, width)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` int64 ``[B, K]`` of ``tokens`` ``[B, P, D]``: ``[B, K, D]``.

    Flat row selection: its backward pass adds whole rows, where gather scatters single numbers.
    """
    batch, count, width = tokens.shape
    offset = torch.arange(batch, device=index.device)[:, None] * count
    rows = tokens.reshape(batch * count, width).index_select(0, (index + offset).flatten())
    return rows.view(batch, index.shape[1], width)


class Block(nn.Module):
    """Pre-norm transformer block on ``[B, L, D]``; no dropout.

    Positions enter queries and keys only, so tokens carry content and nothing else: a position
    added to the token would soon be most of it. Both branches start at a tenth (LayerScale,
    arXiv:2103.17239), so that a fresh block passes its input on almost unchanged.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qk, self.v = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, mlp_ratio * width)
        self.fc2 = nn.Linear(mlp_ratio * width, width)
        self.scale1 = nn.Parameter(torch.full((width,), 0.1))
        self.scale2 = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor, where: Tensor) -> Tensor:
        """Tokens ``[B, L, D]`` at positions ``where`` ``[B or 1, L, D]``."""
        batch, length, width = x.shape
        normal = self.norm1(x)
        qk = self.qk(normal + where).view(batch, length, 2, self.heads, width // self.heads)
        q, k = qk.permute(2, 0, 3, 1, 4).unbind(0)
        v = self.v(normal).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.scale1 * self.out(mixed.reshape(batch, length, width))
        return x + self.scale2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """A stack of blocks on ``[B, L, D]``; no norm at the end."""

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))

    def forward(self, x: Tensor, where: Tensor) -> Tensor:
        """Tokens ``[B, L, D]`` at positions ``where`` ``[B or 1, L, D]``."""
        for block in self.blocks:
            x = block(x, where)
        return x
