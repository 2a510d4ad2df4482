"""The two small networks that read poses off frozen tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robot_wm.encoders.transformer import position_table


class Mlp(nn.Module):
    """Everything at once: ``[B, T, P, D]``, each token reduced alike, then two hidden layers.

    Without the shared reduction the first layer has to learn anew in every place what an edge is,
    and needs several times the frames for the same angle.
    """

    def __init__(self, shape: Sequence[int], factors: int, hidden: int, reduced: int = 32) -> None:
        super().__init__()
        times, positions, width = shape
        self.net = nn.Sequential(
            nn.Linear(width, reduced), nn.ReLU(), nn.Flatten(),
            nn.Linear(times * positions * reduced, 2 * hidden), nn.ReLU(),
            nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, factors),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, P, D]`` to ``[B, C]``."""
        return self.net(x)


class Attentive(nn.Module):
    """One learned query per factor attends to the tokens of each frame, then an MLP per factor.

    A learned query times a learned key matrix is one learned vector, so scores are one linear map;
    and values are projected after pooling, which is the same and cheaper.
    """

    table: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        factors: int,
        hidden: int,
        grid: tuple[int, int],
        heads: int = 4,
        value: int = 64,
    ) -> None:
        super().__init__()
        times, _, width = shape
        self.factors, place = factors, 64
        self.score = nn.Linear(width, factors * heads, bias=False)
        self.where = nn.Linear(place, factors * heads, bias=False)
        self.value = nn.Linear(width, value)
        self.register_buffer("table", position_table(1, grid, place))
        size = times * heads * (value + place)
        self.first = nn.Parameter(torch.empty(factors, size, hidden).uniform_(-1, 1) / size**0.5)
        self.middle = nn.Parameter(torch.zeros(factors, 1, hidden))
        self.last = nn.Parameter(torch.empty(factors, hidden, 1).uniform_(-1, 1) / hidden**0.5)
        self.offset = nn.Parameter(torch.zeros(factors))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, P, D]`` to ``[B, C]``."""
        weight = (self.score(x) + self.where(self.table)).softmax(dim=2).mT  # [B, T, C·heads, P]
        pooled = torch.cat([self.value(weight @ x), weight @ self.table], dim=-1)
        pooled = pooled.unflatten(2, (self.factors, -1)).permute(2, 0, 1, 3, 4).flatten(2)
        hidden = torch.relu(pooled @ self.first + self.middle)
        return (hidden @ self.last).squeeze(2).T + self.offset
