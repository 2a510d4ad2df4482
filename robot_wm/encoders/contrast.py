"""What is where in a picture, whatever its colours: figure and ground, edges and their direction.

A scene that is red where it used to be blue has the same shapes. So the three colours of a pixel
are replaced by numbers that say how it differs from the background and from its neighbours, each
relative to the strongest difference nearby (local contrast normalisation; Jarrett et al. 2009,
doi:10.1109/ICCV.2009.5459469): an object of any colour is 1 inside, a pixel that it covers by a
third is a third. There is nothing to learn in it, and colours never seen are no others. What is
told by its colour alone is lost.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 4
NEAR = 7  # side of the neighbourhood whose strongest difference counts as 1 [px]
FLOOR = 0.1  # a difference that counts as half even where nothing is stronger, in full brightness
SPREAD = 2.0  # of the numbers, so that a fresh stem sees about unit variance where something is
SAMPLED = 4  # the background is the median of every so many rows and columns
TINY = 1e-8  # keeps roots differentiable where a picture is flat; as a bound, since ONNX's
# optimiser takes so small a summand for zero and leaves it out


def contrast(pixels: Tensor) -> Tensor:
    """Differences of images in [0, 255], ``[N, H, W, 3]``: float32 ``[N, H, W, 4]``.

    They are the distance in RGB from the background, the length of the gradient, and the gradient's
    direction as cosine and sine of twice its angle (those of an edge are the same from either
    side), times its length. The background is the median colour: a picture that is mostly floor or
    wall has it, one in which nothing prevails has some colour.
    """
    x = pixels.float() / 255
    away = (x - _background(x)).square().sum(dim=-1).clamp(min=TINY).sqrt()
    padded = F.pad(x.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    # The structure tensor: gradients of the three colours agree in direction up to their sign.
    xx, yy, xy = (v.sum(dim=1) for v in (across.square(), down.square(), across * down))
    steep = (xx + yy).clamp(min=TINY).sqrt()
    far, edge = (_strongest(torch.stack([away, steep], dim=1)) + FLOOR).unbind(dim=1)
    parts = [away / far, steep / edge, (xx - yy) / steep / edge, 2 * xy / steep / edge]
    return SPREAD * torch.stack(parts, dim=-1)


def _background(x: Tensor) -> Tensor:
    """The median colour of each image, ``[N, 1, 1, 3]``; by ``topk``, which ONNX has."""
    some = x[:, ::SAMPLED, ::SAMPLED].flatten(1, 2)
    half = some.topk(some.shape[1] // 2 + 1, dim=1).values
    return half[:, -1, None, None]


def _strongest(values: Tensor) -> Tensor:
    """The largest number within :data:`NEAR`, ``[N, K, H, W]``; by rows, then by columns."""
    rows = F.max_pool2d(values, (NEAR, 1), stride=1, padding=(NEAR // 2, 0))
    return F.max_pool2d(rows, (1, NEAR), stride=1, padding=(0, NEAR // 2))
