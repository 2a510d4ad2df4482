"""Small parts of Dreamer V3: scales of scalars, layers, convolutions."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.world_models.pixels.frames import CANVAS

MULTIPLES = (2, 3, 4, 4)  # of the depth, layer by layer
BINS = 255


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(1 + |x|), eq. 2 of arXiv:2301.04104."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Inverse of :func:`symlog`."""
    return x.sign() * x.abs().expm1()


def bins() -> Tensor:
    """The values that :func:`two_hot` weighs: ± symexp(0 … 20), 255 of them, 0 in the middle."""
    half = symexp(torch.linspace(-20, 0, BINS // 2 + 1, dtype=torch.float64))
    return torch.cat([half, -half[:-1].flip(0)]).float()


def two_hot(x: Tensor, values: Tensor) -> Tensor:
    """Weights ``[..., 255]`` on the two neighbours of ``x [...]`` whose weighted mean it is."""
    x = x.clamp(float(values[0]), float(values[-1]))
    above = torch.searchsorted(values, x.contiguous()).clamp(1, len(values) - 1)
    low, high = values[above - 1], values[above]
    share = ((x - low) / (high - low))[..., None]
    first = F.one_hot(above - 1, len(values)) * (1 - share)
    return first + F.one_hot(above, len(values)) * share


def expectation(logits: Tensor, values: Tensor) -> Tensor:
    """Mean of the values under softmax: ``[..., 255]`` to ``[...]``.

    The sum runs from the middle outwards in pairs, so that a symmetric distribution gives 0 exactly
    though the outermost values are near 5e8.
    """
    terms = logits.softmax(dim=-1) * values
    middle = len(values) // 2
    pairs = terms[..., :middle].flip(-1) + terms[..., middle + 1 :]
    return terms[..., middle] + pairs.sum(dim=-1)


class Norm(nn.Module):
    """x / √(mean x² + 1e-4) with a learned scale, over the last axis or over channels.

    Args:
        size: of that axis.
        channels: whether it is axis 1, of images.
    """

    def __init__(self, size: int, channels: bool = False) -> None:
        super().__init__()
        self.axis = 1 if channels else -1
        self.scale = nn.Parameter(torch.ones(size, 1, 1) if channels else torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return x * (x.square().mean(dim=self.axis, keepdim=True) + 1e-4).rsqrt() * self.scale


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Linear, norm, SiLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), Norm(outputs), nn.SiLU())


def mlp(inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0) -> nn.Sequential:
    """Dense layers and a linear read-out, whose first weights are multiplied by ``scale``."""
    out = nn.Linear(units, outputs)
    with torch.no_grad():
        out.weight.mul_(scale)
        out.bias.zero_()
    return nn.Sequential(
        *(dense(units if i else inputs, units) for i in range(layers)), out
    )  # fmt: skip


class BlockLinear(nn.Module):
    """A linear map with a block-diagonal matrix: ``[N, blocks · inputs]`` block by block."""

    def __init__(self, blocks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(blocks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(blocks, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, blocks, inputs]`` to ``[N, blocks, outputs]``."""
        return torch.einsum("nbi,bio->nbo", x, self.weight) + self.bias


class Eyes(nn.Module):
    """Images ``[N, 3, 64, 64]`` in 0 … 1 to an embedding ``[N, E]``: four halving convolutions.

    Strided ones (an option of the release) instead of max-pooling: a quarter of the arithmetic.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        sizes = (3, *(depth * m for m in MULTIPLES))
        self.size = sizes[-1] * (CANVAS // 16) ** 2
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 5, 2, 2), Norm(b, channels=True), nn.SiLU())
                for a, b in pairwise(sizes)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.layers(images - 0.5).flatten(1)


class Brush(nn.Module):
    """Features ``[N, F]`` to logits of images ``[N, 3, 64, 64]``: :class:`Eyes`, mirrored."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        sizes = [depth * m for m in reversed(MULTIPLES)]
        self.channels, self.side = sizes[0], CANVAS // 16
        self.widen = dense(features, self.channels * self.side**2)
        up = [
            nn.Sequential(
                nn.ConvTranspose2d(a, b, 5, 2, 2, 1), Norm(b, channels=True), nn.SiLU()
            )
            for a, b in pairwise(sizes)
        ]  # fmt: skip
        self.layers = nn.Sequential(*up, nn.ConvTranspose2d(sizes[-1], 3, 5, 2, 2, 1))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.layers(
            self.widen(features).reshape(-1, self.channels, self.side, self.side)
        )
        return logits
