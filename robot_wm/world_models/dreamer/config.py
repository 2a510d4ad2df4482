"""What decides the training of a Dreamer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Count, Fraction, Natural, NonNegative, Positive, Within
from robot_wm.world_models.pixels.config import PixelConfig

Width = Annotated[int, Within(1, 8192)]


@dataclass(frozen=True)
class DreamerConfig(PixelConfig):
    """World model and actor-critic, with the losses and constants of Dreamer V3, in a small size.

    Attributes:
        deter, blocks: ``h``, and the diagonal blocks of the GRU that carries it.
        groups, classes: the latent ``s``: categoricals and the classes of each.
        hidden: width inside the state-space model.
        depth: channels of the convolutions, times 2, 3, 4, 4.
        units: width of frame head, actor and critic.
        particles: courses that a plan's cost is averaged over.
        steps, batch, lr, warmup: of the world model: optimiser steps, windows a step, Adam.
        free: nats of KL that cost nothing, after summing over the categoricals.
        dynamics, representation: weights of the two halves of the KL.
        unimix: share of the uniform distribution in every categorical.
        context: frames that a history is filtered over.
        behaviour_steps, starts: of the actor-critic: optimiser steps, imagined courses a step.
        imagined: their length in blocks.
        discount_blocks: horizon of the discount [blocks].
        lambda_: of the λ-returns.
        entropy: weight of the actor's entropy.
        slow: share of the critic that its slow copy takes over every step.
    """

    deter: Width = 256
    blocks: Count = 8
    groups: Width = 32
    classes: Annotated[int, Within(2, 1024)] = 8
    hidden: Width = 128
    depth: Width = 8
    units: Width = 128
    particles: Count = 2
    steps: Count = 4000
    batch: Count = 16
    lr: Positive = 4e-4
    warmup: Natural = 200
    free: NonNegative = 1.0
    dynamics: NonNegative = 1.0
    representation: NonNegative = 0.1
    unimix: Fraction = 0.01
    context: Annotated[int, Within(2, 64)] = 4
    behaviour_steps: Natural = 1000
    starts: Count = 128
    imagined: Annotated[int, Within(2, 1000)] = 15
    discount_blocks: Annotated[float, Within(above=1)] = 333.0
    lambda_: Fraction = 0.95
    entropy: NonNegative = 3e-4
    slow: Fraction = 0.02

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """See the base."""
        whole = self.deter % self.blocks == 0
        return {**super().checks(), "deter, blocks": (whole, "a multiple of the blocks")}

    @property
    def total(self) -> int:
        """Optimiser steps of both stages."""
        return self.steps + self.behaviour_steps
