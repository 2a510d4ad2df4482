"""What decides the training of a causal predictor; families add their sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, Fraction, Natural, Within
from robot_wm.world_models.config import AveragedConfig, Width


@dataclass(frozen=True)
class CausalConfig(AveragedConfig):
    """Training of a predictor on windows of ``history + 1`` frames.

    Attributes:
        steps, batch: optimiser steps and windows a step.
        history: frames that the predictor sees in training.
        context: frames that it sees while it imagines, real ones at first.
        context_dropout: how often the first frame of a window is a copy of the second with no
            action between, as planning begins where nothing was seen before.
        width, depth, heads: of the predictor.
        chunk: candidates rolled out at a time, whose activations stay in the processor's cache.
    """

    steps: Count = 4_000
    batch: Annotated[int, Within(2, 10**6)] = 64
    warmup: Natural = 100
    ema: Annotated[float, Within(0, below=1)] = 0.998
    log_every: Count = 50
    history: Annotated[int, Within(2, 64)] = 3
    context: Annotated[int, Within(2, 64)] = 2
    context_dropout: Fraction = 0.25
    width: Width = 128
    depth: Annotated[int, Within(1, 256)] = 3
    heads: Width = 4
    chunk: Annotated[int, Within(1, 2**20)] = 64

    @property
    def total(self) -> int:
        """Optimizer steps."""
        return self.steps

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """See the base."""
        return {
            "context": (self.context <= self.history, f"2 to history ({self.history})"),
            "heads": (self.width % self.heads == 0, f"a divisor of width ({self.width})"),
        }
