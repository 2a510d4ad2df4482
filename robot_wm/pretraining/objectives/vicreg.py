"""VICReg (arXiv:2105.04906): invariance to the look, a variance hinge, uncorrelated features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robot_wm.core.config import NonNegative
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.objectives import strict
from robot_wm.pretraining.objectives.two_views import TwoViews, TwoViewsConfig, centered_views
from robot_wm.training.regularizers import variance_covariance


@dataclass(frozen=True)
class VICRegConfig(TwoViewsConfig):
    """Options of VICReg.

    Attributes:
        invariance, variance, covariance: weights of the terms; the covariance is Σ_{i≠j} C²/D of
            each view, summed over both, the hinge their mean.
    """

    invariance: NonNegative = 25.0
    variance: NonNegative = 25.0
    covariance: NonNegative = 1.0


class VICReg(TwoViews):
    """The objective. Options: :class:`VICRegConfig`."""

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        self.weights = strict(VICRegConfig, options)
        super().__init__(self.weights, encoder)

    def compare(
        self, a: Tensor, b: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class."""
        w, views = self.weights, torch.cat([centered_views(a), centered_views(b)])
        terms = [variance_covariance(view, len(view) - 1) for view in views]
        parts = {
            "invariance": F.mse_loss(a, b),
            "variance": torch.stack([hinge for hinge, _ in terms]).mean(),
            "covariance": 2 * torch.stack([covariance for _, covariance in terms]).mean(),
        }
        total = w.invariance * parts["invariance"] + w.variance * parts["variance"]
        return total + w.covariance * parts["covariance"], parts
