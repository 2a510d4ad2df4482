"""Options that every training with averaged weights has; importing it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Natural, NonNegative, Positive, Within


@dataclass(frozen=True)
class Schedule:
    """AdamW and a running average of weights, which is validated and shipped.

    Attributes:
        lr, warmup, weight_decay, clip, ema: AdamW with linear warm-up and cosine decay to 0 in each
            stage, gradient norm clip, decay of the weight average.
    """

    lr: Annotated[float, Within(above=0, high=10)] = 5e-4
    warmup: Natural = 200
    weight_decay: NonNegative = 0.01
    clip: Positive = 1.0
    ema: Annotated[float, Within(0, below=1)] = 0.999
