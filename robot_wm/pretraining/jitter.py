"""Photometric changes of pictures with known parameters: the pose stays, the look does not.

Computed on the stored frames; nothing is rendered. Colours are what IWM (arXiv:2403.00504) jitters;
grey, blurred and solarised pictures are its destructive changes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
COLORS, DESTROYS = 4, 3  # numbers that say a change of colours; and a destructive one
BLUR = (0.25, 0.5, 0.25)


class Jitter(NamedTuple):
    """Changes of ``N`` pictures, each in units of about its own deviation.

    Attributes:
        colors: float32 ``[N, 4]``: brightness, contrast and saturation as logarithms of a factor,
            hue as an angle, each uniform in ±√3 (unit variance) before ``strength``.
        destroys: float32 ``[N, 3]``, 0 or 1: grey, blurred, solarised.
    """

    colors: Tensor
    destroys: Tensor


def draw_jitter(
    rng: np.random.Generator, count: int, destroy: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Jitter:
    """Changes of ``count`` pictures; ``destroy`` are the shares of the destructive ones."""
    colors = rng.uniform(-math.sqrt(3), math.sqrt(3), (count, COLORS)).astype(np.float32)
    destroys = (rng.random((count, DESTROYS)) < destroy).astype(np.float32)
    return Jitter(torch.from_numpy(colors), torch.from_numpy(destroys))


def apply_jitter(frames: Tensor, jitter: Jitter, strength: float = 0.4) -> Tensor:
    """Pictures uint8 ``[N, H, W, 3]`` changed, as float32 in [0, 255].

    Args:
        strength: a parameter of √3 multiplies brightness, contrast and saturation by 1 + strength
            (one of −√3 divides by it) and turns the hue by strength·π/4 [rad].
    """
    unit = jitter.colors.to(frames.device) / math.sqrt(3)
    factors = (unit[:, :3] * math.log1p(strength)).exp()
    bright, contrast, saturation = (f[:, None, None, None] for f in factors.unbind(1))
    grey = torch.tensor(GREY, device=frames.device)
    x = frames.float() * bright
    middle = (x @ grey).mean((1, 2))[:, None, None, None]
    x = middle + contrast * (x - middle)
    plain = (x @ grey)[..., None]
    x = plain + saturation * (x - plain)
    turned = torch.einsum("nhwc,ndc->nhwd", x - plain, _turns(unit[:, 3] * strength * math.pi / 4))
    return _destroyed((plain + turned).clamp(0, 255), jitter.destroys.to(frames.device))


def _turns(angle: Tensor) -> Tensor:
    """Rotations ``[N, 3, 3]`` of colour about the grey axis (1, 1, 1), by angles ``[N]`` [rad]."""
    one = torch.full((3, 3), 1 / 3, device=angle.device)
    root = 1 / math.sqrt(3)
    cross = torch.tensor(
        [[0, -root, root], [root, 0, -root], [-root, root, 0]], device=angle.device
    )
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cos * torch.eye(3, device=angle.device) + sin * cross + (1 - cos) * one


def _destroyed(x: Tensor, flags: Tensor) -> Tensor:
    """Grey, blurred (twice [1 2 1]/4 both ways) and solarised pictures where flags say so."""
    grey, blur, solarise = (flag.bool()[:, None, None, None] for flag in flags.unbind(1))
    if not flags.any():
        return x
    plain = (x @ torch.tensor(GREY, device=x.device))[..., None].expand_as(x)
    x = torch.where(grey, plain, x)
    soft, line = x.permute(0, 3, 1, 2), torch.tensor(BLUR, device=x.device)
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    for _ in range(2):
        soft = F.conv2d(F.pad(soft, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    x = torch.where(blur, soft.permute(0, 2, 3, 1), x)
    return torch.where(solarise & (x > 128), 255 - x, x)
