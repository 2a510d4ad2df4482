"""Other colours for a clip at no price: an affine map of RGB, the same in both frames.

Colours of the scene's own ranges need drawing again (``-looks``); these need none, and go further:
any background may become dark or red. Shapes, edges and motion stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

GAIN = (0.4, 1.0)  # of a channel's range; what is left of it is a random offset
MIXED = 0.5  # largest share of another mixture of channels in a channel


def color_maps(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random maps of colours in [0, 1] into [0, 1]: ``matrix [N, 3, 3]`` and ``offset [N, 3]``.

    Channels change places and mix (hue), lose range and are shifted (contrast, brightness), and
    half of them are inverted.
    """
    swapped = np.eye(3)[rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1)]
    share = rng.uniform(0, MIXED, (count, 3, 1))
    mixed = (1 - share) * swapped + share * rng.dirichlet(np.ones(3), (count, 3))
    gain = rng.uniform(*GAIN, (count, 3))
    offset = rng.uniform(0, 1 - gain)
    inverted = rng.random((count, 3)) < 0.5
    sign = np.where(inverted, -gain, gain)
    return sign[..., None] * mixed, np.where(inverted, gain + offset, offset)


def recolored(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Frames uint8 ``[N, H, W, 3]``, each under a map of its own, see :func:`color_maps`."""
    matrix, offset = color_maps(rng, len(frames))
    flat = frames.reshape(len(frames), -1, 3).astype(np.float32)
    pixels = flat @ matrix.transpose(0, 2, 1).astype(np.float32) + 255 * offset[:, None]
    return pixels.round().clip(0, 255).astype(np.uint8).reshape(frames.shape)


def jittered(
    batch: Mapping[str, Tensor], rng: np.random.Generator, share: float
) -> dict[str, Tensor]:
    """A batch of clips, some of them in other colours.

    Args:
        batch: see :class:`robot_wm.pretraining.objectives.Objective`.
        rng: draws which clips and which colours.
        share: of the clips that are changed, in [0, 1].

    Returns:
        The same with other ``frames``; ``twin`` are those before, unless the batch had some. A clip
        in other colours looks like no other (``appearance_id``).
    """
    frames = batch["frames"]
    rows = torch.from_numpy(np.flatnonzero(rng.random(len(frames)) < share))
    matrix, offset = (torch.from_numpy(x).float() for x in color_maps(rng, len(rows)))
    pixels = frames[rows].float().flatten(1, 3) @ matrix.mT + 255 * offset[:, None]
    changed, looks = frames.clone(), batch["appearance_id"].clone()
    changed[rows] = pixels.round().clamp(0, 255).to(torch.uint8).view(-1, *frames.shape[1:])
    looks[rows] = -1 - rows
    return {"twin": frames, **batch, "frames": changed, "appearance_id": looks}
