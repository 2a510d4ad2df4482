"""VideoMAE (arXiv:2203.12602), the generative twin of V-JEPA: the same clips, the same tubes.

Both frames of a clip lose the same patches and are decoded together. Of an 8 x 8 grid the paper's
90 % would leave six positions; 80 % leave thirteen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from robot_wm.core.config import Within
from robot_wm.pretraining.objectives.mae import MAE, MAEConfig


@dataclass(frozen=True)
class VideoMAEConfig(MAEConfig):
    """Options of VideoMAE; see :class:`MAEConfig`."""

    ratio: Annotated[float, Within(above=0, below=1)] = 0.8


class VideoMAE(MAE):
    """The objective; see the module's text. Options: :class:`VideoMAEConfig`."""

    options = VideoMAEConfig
    times = 2
