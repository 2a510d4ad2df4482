"""What decides the training of a causal predictor; families add their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import (
    Count,
    Device,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    check_fields,
)
from robot_wm.core.errors import ConfigError

# These may differ between a stored model and the run that uses it again.
FREE = ("threads", "eval_every", "checkpoint_every", "log_every", "device")


@dataclass(frozen=True)
class CausalConfig:
    """Training of a predictor on windows of ``history + 1`` frames.

    Attributes:
        task: must be the data set's.
        steps, batch: optimiser steps and windows a step.
        lr, warmup, weight_decay, clip, ema: AdamW with linear warm-up and cosine decay to 0,
            gradient norm clip, decay of the weight average that is validated and shipped.
        seed, threads, device: of torch; the command line sets the threads, here they are recorded.
        eval_every, checkpoint_every, log_every: in steps.
        history: frames that the predictor sees in training.
        context: frames that it sees while it imagines, real ones at first.
        horizon: blocks up to which it is meant to be rolled out.
        context_dropout: how often the first frame of a window is a copy of the second with no
            action between, as planning begins where nothing was seen before.
        width, depth, heads: of the predictor.
        chunk: candidates rolled out at a time, whose activations stay in the processor's cache.

    Raises:
        ConfigError: a value outside its range.
    """

    task: str
    steps: Count = 4_000
    batch: Annotated[int, Within(2, 10**6)] = 64
    lr: Annotated[float, Within(above=0, high=10)] = 5e-4
    warmup: Natural = 100
    weight_decay: NonNegative = 0.01
    clip: Positive = 1.0
    ema: Annotated[float, Within(0, below=1)] = 0.998
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 2
    device: Device = "cpu"
    eval_every: Count = 2_000
    checkpoint_every: Count = 500
    log_every: Count = 50
    history: Annotated[int, Within(2, 64)] = 3
    context: Annotated[int, Within(2, 64)] = 2
    horizon: Annotated[int, Within(1, 100)] = 5
    context_dropout: Fraction = 0.25
    width: Annotated[int, Within(1, 4096)] = 128
    depth: Annotated[int, Within(1, 256)] = 3
    heads: Annotated[int, Within(1, 4096)] = 4
    chunk: Annotated[int, Within(1, 2**20)] = 64

    def __post_init__(self) -> None:
        check_fields(self, "train")
        for name, good, accepted in (
            ("context", self.context <= self.history, f"2 to history ({self.history})"),
            ("heads", self.width % self.heads == 0, f"a divisor of width ({self.width})"),
        ):
            if not good:
                value = getattr(self, name)
                raise ConfigError(f"{name} = {value}", accepted, "change the training config")
