"""What decides the training of a predictor with a latent variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from robot_wm.core.config import Count, NonNegative, Within
from robot_wm.world_models.causal.config import CausalConfig


@dataclass(frozen=True)
class LatentVariableConfig(CausalConfig):
    """Training of a predictor ŝ' = Pred(s, a, z); see :class:`CausalConfig`.

    Attributes:
        latent: principal components of a frame's blurred tokens that are its latent.
        blur: of tokens over their grid before that, standard deviation in tokens.
        variable: what z is: one of ``codes``, or ``dims`` Gaussian numbers.
        codes: values of a discrete z; with one there is nothing to choose, and the predictor is
            deterministic.
        dims: numbers of a Gaussian z.
        beta: price of a nat of z, in latent variances: loss = error + beta · KL(posterior ‖ prior).
        draws: courses that a plan is imagined in.
        kappa: weight of the costs' standard deviation over these courses, beside their mean.
    """

    latent: Annotated[int, Within(1, 4096)] = 32
    blur: NonNegative = 1.0
    variable: Literal["discrete", "gaussian"] = "discrete"
    codes: Annotated[int, Within(1, 4096)] = 8
    dims: Annotated[int, Within(1, 4096)] = 4
    beta: Annotated[float, Within(above=0, high=1000)] = 0.02
    draws: Count = 4
    kappa: NonNegative = 0.5
