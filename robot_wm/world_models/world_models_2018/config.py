"""What decides the training of a World Model of 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from robot_wm.core.config import Count, Natural, NonNegative, Positive, Within
from robot_wm.world_models.config import Width
from robot_wm.world_models.pixels.config import PixelConfig, TakesParts


@dataclass(frozen=True)
class WorldModels2018Config(TakesParts, PixelConfig):
    """Three parts, trained one after the other; sizes as published.

    The first two may be another model's: then the controller alone is evolved.

    Attributes:
        z: numbers that the VAE keeps of a frame.
        hidden: width of the LSTM.
        mixtures: Gaussians of a prediction; all numbers of ``z`` share their weights, which keeps
            correlated jumps (github.com/ctallec/world-models), where the first release had one
            mixture for each number.
        vae_steps, vae_batch, vae_lr: of the first part: optimiser steps, frames a step, Adam.
        tolerance: nats per number of ``z`` below which the KL term is not felt.
        rnn_steps, rnn_batch, rnn_lr: of the second: steps, windows a step, Adam.
        generations: of the controller's evolution by CMA-ES with a diagonal covariance; 0 leaves
            it still.
        population: controllers of a generation.
        dreams: starts and goals that every controller of a generation dreams from.
        dream_blocks: length of a dream.
        temperature: of the mixture in a dream; above 1 the dream is harder to exploit.
        sigma: first step size of CMA-ES.
        goal_range: a dream's goal lies up to this many blocks ahead of its start, as recorded.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("vae.", "rnn.", "backdrop")
    LEARNT: ClassVar[tuple[str, ...]] = ("vae_steps", "rnn_steps")
    z: Width = 32
    hidden: Width = 256
    mixtures: Width = 5
    vae_steps: Natural = 2500
    vae_batch: Count = 100
    vae_lr: Positive = 5e-4
    tolerance: NonNegative = 0.5
    rnn_steps: Natural = 3000
    rnn_batch: Count = 100
    rnn_lr: Positive = 1e-3
    generations: Natural = 300
    population: Annotated[int, Within(4, 10**4)] = 32
    dreams: Count = 32
    dream_blocks: Count = 10
    temperature: Positive = 1.15
    sigma: Positive = 0.1
    goal_range: Count = 10

    @property
    def total(self) -> int:
        """Optimiser steps; generations are none."""
        return self.vae_steps + self.rnn_steps
