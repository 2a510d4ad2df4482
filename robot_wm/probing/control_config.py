"""Options of the pixel control; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, Seed, Within


@dataclass(frozen=True)
class PixelControlConfig:
    """Training of the control, see :mod:`robot_wm.probing.pixel_control`.

    Attributes:
        steps, batch, lr: of AdamW with a warm-up and a cosine.
        width: channels at full size; the coarser ones have two, four and four times as many.
        seed: of weights and batches.
    """

    steps: Count = 800
    batch: Annotated[int, Within(2, 4096)] = 32
    lr: Annotated[float, Within(above=0, high=1)] = 2e-3
    width: Annotated[int, Within(4, 256)] = 16
    seed: Seed = 0
