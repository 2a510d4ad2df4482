"""Barlow Twins (arXiv:2103.03230): the two views' features correlate one with one alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.config import NonNegative
from robot_wm.encoders.vit import EncoderConfig
from robot_wm.pretraining.objectives import strict
from robot_wm.pretraining.objectives.two_views import TwoViews, TwoViewsConfig
from robot_wm.training.regularizers import barlow


@dataclass(frozen=True)
class BarlowTwinsConfig(TwoViewsConfig):
    """Options of Barlow Twins.

    Attributes:
        redundancy: weight of the squared correlations off the diagonal.
    """

    redundancy: NonNegative = 0.01


class BarlowTwins(TwoViews):
    """The objective. Options: :class:`BarlowTwinsConfig`."""

    def __init__(
        self,
        encoder: EncoderConfig,
        options: Mapping[str, Any],
        scenes: int,
        action_dim: int,
        control_dim: int,
    ) -> None:
        self.weights = strict(BarlowTwinsConfig, options)
        super().__init__(self.weights, encoder)

    def compare(
        self, a: Tensor, b: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See the class; the mean over the clip's two times."""
        terms = [barlow(*views) for views in zip(a, b, strict=True)]
        alike, redundant = (torch.stack(term).mean() for term in zip(*terms, strict=True))
        total = alike + self.weights.redundancy * redundant
        return total, {"alike": alike, "redundant": redundant}
