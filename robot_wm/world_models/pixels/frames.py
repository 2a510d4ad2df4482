"""Frames as such models see them: windows of recorded episodes, on a canvas of 64 x 64 pixels.

World Models (Ha & Schmidhuber 2018, arXiv:1803.10122) and Dreamer (Hafner et al. 2023,
arXiv:2301.04104) both shrink what the camera sees to 64 x 64; pictures of another size are
resampled, and what is imagined is resampled back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.core.images import Size, sides

CANVAS = 64  # [px]
CONTRAST = 0.05  # least difference from the backdrop of what counts as foreground


def to_canvas(frames: Tensor) -> Tensor:
    """Frames uint8 ``[N, height, width, 3]`` to images float32 ``[N, 3, 64, 64]`` in 0 … 1."""
    images = frames.permute(0, 3, 1, 2).float() / 255
    if images.shape[2:] == (CANVAS, CANVAS):
        return images
    return F.interpolate(images, (CANVAS, CANVAS), mode="bilinear", align_corners=False)


def to_frames(images: Tensor, size: Size) -> Tensor:
    """Images ``[N, 3, 64, 64]`` to frames uint8 ``[N, height, width, 3]``."""
    if images.shape[2:] != sides(size):
        images = F.interpolate(images, sides(size), mode="bilinear", align_corners=False)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def drawn_onto(backdrop: Tensor, logits: Tensor) -> Tensor:
    """Images in 0 … 1 of a decoder's logits, which say what is unlike the mean training frame.

    An untrained decoder draws that frame. One that first had to learn the large bright background
    drove its rectifiers into silence there and never drew anything else.

    Args:
        backdrop: mean training frame ``[3, 64, 64]``.
        logits: ``[N, 3, 64, 64]``.
    """
    return (logits + backdrop.clamp(0.02, 0.98).logit()).sigmoid()


def pixel_loss(rebuilt: Tensor, images: Tensor, backdrop: Tensor, foreground: float) -> Tensor:
    """Squared error summed over the pixels of an image, ``[N]``; the foreground counts more.

    A sum, not a mean: the unit-variance likelihood that both papers maximise, in whose units the
    KL term is. A pusher of twelve pixels costs fewer nats than its place does, so that the plain
    sum leaves it out; pixels unlike the mean training frame therefore weigh 1 + ``foreground``.

    Args:
        rebuilt, images: ``[N, 3, 64, 64]``.
        backdrop: mean training frame ``[3, 64, 64]``.
        foreground: extra weight; 0 is the published loss.
    """
    apart = (images - backdrop).abs().amax(dim=1, keepdim=True) > CONTRAST
    error = (rebuilt - images).square()
    return (error * (1 + foreground * apart)).sum(dim=(1, 2, 3))
