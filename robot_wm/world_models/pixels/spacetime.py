"""Space-time transformers: attention within a frame, then causally over time, then one MLP.

The ST block of Genie (arXiv:2402.15391): spatial attention over the ``P`` tokens of a frame,
temporal attention of each place over its own past, one feed-forward layer after both; the work is
linear in time. A frame attends to at most ``lags`` frames before it, by how long ago they were and
not by when, so that plans may be longer than training windows and the past can be cached.

Letters: ``B`` windows, ``T`` frames, ``P`` tokens of a frame, ``D`` width, ``C`` cached frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_wm.core.images import Size, sides
from robot_wm.encoders.transformer import position_table

Past = tuple[Tensor, Tensor]
"""Keys and values of a block's cached frames, each ``[1 or B, C, P, D]``."""
UNSEEN = -1


def causal(frames: int, lags: int, cached: int = 0) -> Tensor:
    """How many frames ago each seen frame was, int64 ``[T, cached + T]``; :data:`UNSEEN` if not.

    Args:
        frames: ``T``, the last of all.
        lags: frames that are seen beside the present one.
        cached: frames before these ``T``.
    """
    now, then = torch.arange(cached, cached + frames), torch.arange(cached + frames)
    ago = now[:, None] - then[None]
    return torch.where((ago >= 0) & (ago <= lags), ago, UNSEEN)


def side_by_side(frames: int, lags: int) -> Tensor:
    """The same for ``T`` true frames with, behind them, a stand-in for each but the first.

    A stand-in (masked, or full of noise) sees itself and the true frames before it; nobody else
    sees it. In one pass every frame is predicted from true ones, just as it is in use.

    Returns:
        int64 ``[2T - 1, 2T - 1]``.
    """
    true = causal(frames, lags)
    ago = torch.full((2 * frames - 1, 2 * frames - 1), UNSEEN)
    ago[:frames, :frames] = true
    ago[frames:, :frames] = torch.where(true[1:] > 0, true[1:], UNSEEN)
    ago[frames:, frames:] = torch.where(torch.eye(frames - 1, dtype=torch.bool), 0, UNSEEN)
    return ago


class Attention(nn.Module):
    """Multi-head self-attention on ``[B, L, D]``; positions enter queries and keys alone."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qk, self.v = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, where: Tensor | None = None, bias: Tensor | None = None,
        past: Past | None = None,
    ) -> tuple[Tensor, Past]:  # fmt: skip
        """Mix ``[B, L, D]``.

        Args:
            where: positions ``[L, D]``.
            bias: added to the logits, ``[heads, L, C + L]``.
            past: further keys and values ``[B, C, D]``, put before these.

        Returns:
            ``[B, L, D]``, and all keys and values ``[B, C + L, D]``.
        """
        q, k = self.qk(x if where is None else x + where).chunk(2, dim=-1)
        v = self.v(x)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
        mixed = F.scaled_dot_product_attention(
            self._heads(q), self._heads(k), self._heads(v), attn_mask=bias
        )
        return self.out(mixed.transpose(1, 2).flatten(2)), (k, v)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Space, time, MLP, each added to its input ``[B, T, P, D]``.

    Unconditioned branches start at ``scale``, usually a tenth, as in
    :mod:`robot_wm.encoders.transformer`. Conditioned ones are shifted, scaled and gated by a linear
    map of the condition that starts at zero, so that
    a fresh block is the identity (adaLN-Zero, Peebles and Xie 2023, arXiv:2212.09748).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: int,
        lags: int,
        conditioned: bool,
        scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.space, self.time = Attention(width, heads), Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width)
        )
        self.ago = nn.Parameter(torch.zeros(heads, lags + 1))
        affine = not conditioned
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=affine) for _ in range(3))
        if conditioned:
            self.modulation = nn.Linear(width, 9 * width)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)
        else:
            self.scales = nn.Parameter(torch.full((3, width), scale))

    def forward(
        self, x: Tensor, where: Tensor, ago: Tensor, condition: Tensor | None = None,
        past: Past | None = None,
    ) -> tuple[Tensor, Past]:  # fmt: skip
        """See :meth:`SpaceTime.forward`; returns all keys and values ``[B, C + T, P, D]``, too."""
        batch, times, places, width = x.shape
        inputs, gates = self._branches(condition)
        mixed, _ = self.space(inputs(0, x).flatten(0, 1), where)
        x = x + gates[0] * mixed.view_as(x)

        unseen = self.ago.new_full((len(self.ago), 1), -torch.inf)
        bias = torch.cat([self.ago, unseen], dim=1)[:, ago]  # UNSEEN is the last
        by_place = inputs(1, x).transpose(1, 2).flatten(0, 1)
        known = None if past is None else _by_place(past, batch)
        mixed, (k, v) = self.time(by_place, None, bias, known)
        x = x + gates[1] * mixed.view(batch, places, times, width).transpose(1, 2)
        x = x + gates[2] * self.mlp(inputs(2, x))
        k, v = (t.unflatten(0, (batch, places)).transpose(1, 2) for t in (k, v))
        return x, (k, v)

    def _branches(self, condition: Tensor | None) -> tuple[_Inputs, Sequence[Tensor]]:
        """What goes into each branch, and what its result is multiplied with."""
        if condition is None:
            return _Inputs(self.norms), self.scales.unbind(0)
        told = self.modulation(F.silu(condition)).unsqueeze(2)  # [B, T, 1, 9 D]
        parts = told.chunk(9, dim=-1)
        return _Inputs(self.norms, parts[:3], parts[3:6]), parts[6:]


class _Inputs:
    """Normalised and, where there is a condition, modulated tokens, branch by branch."""

    def __init__(
        self, norms: nn.ModuleList, shifts: Sequence[Tensor] = (), scales: Sequence[Tensor] = ()
    ) -> None:
        self.norms, self.shifts, self.scales = norms, shifts, scales

    def __call__(self, branch: int, x: Tensor) -> Tensor:
        normal: Tensor = self.norms[branch](x)
        if not self.shifts:
            return normal
        return normal * (1 + self.scales[branch]) + self.shifts[branch]


def _by_place(past: Past, batch: int) -> Past:
    """Cached keys and values as rows of places: ``[B · P, C, D]``."""
    k, v = (t.expand(batch, -1, -1, -1).transpose(1, 2).flatten(0, 1) for t in past)
    return k, v


class SpaceTime(nn.Module):
    """A stack of blocks on ``[B, T, P, D]`` with a norm at the end.

    Args:
        grid: rows and columns of the ``P`` tokens of a frame.
        lags: frames that each frame sees beside itself.
        conditioned: whether every frame comes with a condition ``[B, T, D]``.
        scale: of unconditioned branches, to begin with.
    """

    def __init__(
        self, width: int, depth: int, heads: int, grid: tuple[int, int], lags: int,
        conditioned: bool = False, mlp_ratio: int = 4, scale: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.lags = lags
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, lags, conditioned, scale) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.register_buffer("where", position_table(1, grid, width), persistent=False)

    def forward(
        self, x: Tensor, ago: Tensor | None = None, condition: Tensor | None = None,
        past: Sequence[Past] = (),
    ) -> tuple[Tensor, list[Past]]:  # fmt: skip
        """Tokens of frames ``[B, T, P, D]``.

        Args:
            x: tokens.
            ago: who sees whom, see :func:`causal`, which is what counts if None.
            condition: one of each frame, ``[B, T, D]``.
            past: of every block, what :func:`keep` left of an earlier call.

        Returns:
            ``[B, T, P, D]``, and every block's keys and values of all frames, cached ones included.
        """
        if ago is None:
            ago = causal(x.shape[1], self.lags, past[0][0].shape[1] if past else 0)
        ago, seen = ago.to(x.device), list[Past]()
        for number, block in enumerate(self.blocks):
            known = past[number] if past else None
            x, both = block(x, self.get_buffer("where"), ago, condition, known)
            seen.append(both)
        return self.norm(x), seen


def keep(seen: Sequence[Past], lags: int) -> list[Past]:
    """The last ``lags`` frames of keys and values: all that later frames can see."""
    return [(k[:, -lags:], v[:, -lags:]) for k, v in seen]


def patches(images: Tensor, patch: int) -> Tensor:
    """Pictures ``[..., height, width, 3]`` as rows of patches ``[..., P, patch² · 3]``."""
    *lead, height, width, colours = images.shape
    cut = images.reshape(*lead, height // patch, patch, width // patch, patch, colours)
    return cut.transpose(-4, -3).flatten(-3).flatten(-3, -2)


def pictures(rows: Tensor, size: Size, patch: int) -> Tensor:
    """Inverse of :func:`patches`, for pictures of ``size`` [px]."""
    (height, width), lead = sides(size), rows.shape[:-2]
    cut = rows.reshape(*lead, height // patch, width // patch, patch, patch, 3)
    return cut.transpose(-4, -3).reshape(*lead, height, width, 3)
