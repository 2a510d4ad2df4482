"""LeJEPA (arXiv:2511.08544): views embed alike, and embeddings are distributed as N(0, I).

SIGReg tests the distribution along random directions (``robot_wm/training/regularizers.py``);
total (1 − λ)·prediction + λ·SIGReg, the prediction being each view's distance from their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.config import Fraction, Within
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.objectives import strict
from robot_wm.pretraining.objectives.two_views import TwoViews, TwoViewsConfig, torch_generator
from robot_wm.training.regularizers import sigreg


@dataclass(frozen=True)
class SIGRegConfig(TwoViewsConfig):
    """Options of SIGReg.

    Attributes:
        weight: λ.
        directions: drawn anew every step.
    """

    weight: Fraction = 0.05
    directions: Annotated[int, Within(1, 2**16)] = 256


class SIGReg(TwoViews):
    """The objective; see the module's text. Options: :class:`SIGRegConfig`."""

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        self.weights = strict(SIGRegConfig, options)
        super().__init__(self.weights, encoder)

    def compare(
        self, a: Tensor, b: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class."""
        w, views = self.weights, torch.stack([a, b])
        parts = {
            "prediction": (views - views.mean(0)).square().mean(),
            "sigreg": sigreg(views, torch_generator(rng), w.directions),
        }
        return (1 - w.weight) * parts["prediction"] + w.weight * parts["sigreg"], parts
