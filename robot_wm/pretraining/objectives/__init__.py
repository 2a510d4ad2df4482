"""Pretraining objectives: one file each, registered by name, all for the *same* encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError
from robot_wm.core.registry import Registry
from robot_wm.encoders.vit import EncoderConfig, VideoEncoder

# name -> "module:class"; imported on first use so that one objective never costs another's imports.
REGISTRY = Registry(
    "robot_wm.objectives",
    {
        "vjepa": "robot_wm.pretraining.objectives.vjepa:VJEPA",
        "vjepa_plain": "robot_wm.pretraining.objectives.vjepa_plain:PlainVJEPA",
        "ijepa": "robot_wm.pretraining.objectives.ijepa:IJEPA",
        "iwm": "robot_wm.pretraining.objectives.iwm:IWM",
        "vicreg": "robot_wm.pretraining.objectives.vicreg:VICReg",
        "barlow_twins": "robot_wm.pretraining.objectives.barlow_twins:BarlowTwins",
        "sigreg": "robot_wm.pretraining.objectives.sigreg:SIGReg",
        "mae": "robot_wm.pretraining.objectives.mae:MAE",
        "videomae": "robot_wm.pretraining.objectives.videomae:VideoMAE",
    },
)

Batch = Mapping[str, Tensor]
T = TypeVar("T")


class Objective(nn.Module):
    """What the pretraining loop drives.

    A batch holds ``frames`` uint8 ``[B, 2, H, W, 3]`` (one block apart), ``actions`` float32
    ``[B, A]`` (the normalised block between them), ``summed_action`` float32 ``[B, C]`` (its
    control actions summed, normalised, NaN where a robot has no such control), ``scene``,
    ``appearance_id`` and ``clip`` int64 ``[B]`` (see ``ClipSampler.draw``). Some batches have
    ``twin`` uint8, shaped as ``frames``: the same states in the look they were recorded in.
    """

    @property
    @abstractmethod
    def encoder(self) -> VideoEncoder:
        """The encoder that is shipped."""

    @abstractmethod
    def loss(self, batch: Batch, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Scalar to minimise; its parts for the log, ``loss`` (itself) among them.

        All chance comes from ``rng``.
        """

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step; ``progress`` runs over (0, 1]."""


def make_objective(
    name: str,
    encoder: EncoderConfig,
    options: Mapping[str, Any],
    scenes: int,
    action_dim: int,
    control_dim: int,
) -> Objective:
    """Build a registered objective.

    Args:
        options: the objective's own configuration, checked strictly.
        scenes: number of scenes that batches may mix.
        action_dim: ``A``, size of an action block.
        control_dim: ``C``, size of one control action.

    Raises:
        ConfigError: an unknown objective or option.
    """
    objective: Objective = REGISTRY[name](encoder, options, scenes, action_dim, control_dim)
    return objective


def strict(config: type[T], options: Mapping[str, Any]) -> T:
    """Build a dataclass from options.

    Raises:
        ConfigError: a key the dataclass does not have.
    """
    names = sorted(field.name for field in fields(config))  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise ConfigError(f"option {', '.join(unknown)}", f"{', '.join(names)}", "fix the name")
    return config(**options)
