"""Sizes and bounds of a world model and of a scene: all that anybody may assume of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np

from robot_wm.core.config import Within, build
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Sides, Size, sides
from robot_wm.core.poses import PoseEntry
from robot_wm.core.symmetry import Mirror


@dataclass(frozen=True)
class ModelSpec:
    """What a planner must know about a world model.

    Attributes:
        task: name of the task it was trained on.
        action_low, action_high: bounds of one *model step*, ``A`` values in the task's own action
            unit (the scenes here use [-1, 1], scaled inside the scene).
        control_dim: size of one control action; ``A / control_dim`` control steps make a block.
        control_dt: seconds between two control steps [s].
        context: number of past frames the model can use (it accepts fewer).
        horizon: model steps up to which its predictions were trained or tuned.
        image_size: of the pictures [px], a number or (height, width).
        hashes: sha256 of every parent (encoder, data, statistics, weights).
        bytes_per_candidate: working memory of one candidate in ``step_costs`` [bytes]; planners
            split large batches by it. 0 means unknown: never split.
    """

    task: str
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_dim: Annotated[int, Within(1, 64)]
    control_dt: Annotated[float, Within(above=0, high=10)]
    context: Annotated[int, Within(1, 64)]
    horizon: Annotated[int, Within(1, 100)]
    image_size: Annotated[Size, Sides(4, 1024)]
    hashes: Mapping[str, str] = field(default_factory=dict)
    bytes_per_candidate: Annotated[int, Within(0, 2**40)] = 0

    @property
    def image_height(self) -> int:
        """Rows of a picture [px]."""
        return sides(self.image_size)[0]

    @property
    def image_width(self) -> int:
        """Columns of a picture [px]."""
        return sides(self.image_size)[1]

    @property
    def action_dim(self) -> int:
        """``A``: size of the action of one model step."""
        return len(self.action_low)

    @property
    def block(self) -> int:
        """Control steps in one model step."""
        return self.action_dim // self.control_dim


def spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """Readable form; hashes are left out, they stand in the manifest."""
    return {
        k: list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items() if k != "hashes"
    }


def spec_from_json(value: Mapping[str, Any]) -> ModelSpec:
    """Inverse of :func:`spec_to_json`.

    Raises:
        ConfigError: a key missing or unknown, a value out of range, bounds that do not fit.
    """
    spec = build(ModelSpec, value, "spec")
    check_spec(spec)
    return spec


def check_spec(spec: ModelSpec) -> None:
    """Refuse bounds that are not those of whole blocks.

    Raises:
        ConfigError: bounds of different lengths, low not below high, or part of a block.
    """
    low, high = spec.action_low, spec.action_high
    fits = len(low) == len(high) <= 4096 and len(low) >= spec.control_dim
    if not (fits and len(low) % spec.control_dim == 0 and (np.asarray(low) < high).all()):
        raise ConfigError(
            f"spec: bounds of {len(low)} and {len(high)} entries from {min(low, default=0):g} to "
            f"{max(high, default=0):g}, {spec.control_dim} controls",
            "whole blocks of control actions, low below high",
            "restore the file as it was written",
        )


@dataclass(frozen=True)
class EnvSpec:
    """What the collector and the evaluator must know about a scene with its task.

    Attributes:
        task: registry name.
        control_low, control_high: bounds of one control action.
        control_dt: seconds per control step [s].
        image_size: of the pictures [px], a number or (height, width).
        proprio_dim: size of ``obs["proprio"]``.
        pose: entries of the privileged pose vector.
        families: success predicates on offer, e.g. ``official``, ``moderate``, ``strict``.
        mirror: a reflection that leaves the nominal scene and its dynamics as they are, if any.
    """

    task: str
    control_low: tuple[float, ...]
    control_high: tuple[float, ...]
    control_dt: float
    image_size: Size
    proprio_dim: int
    pose: tuple[PoseEntry, ...]
    families: tuple[str, ...]
    mirror: Mirror | None = None

    @property
    def control_dim(self) -> int:
        """Size of one control action."""
        return len(self.control_low)

    @property
    def pose_names(self) -> tuple[str, ...]:
        """Labels of the pose's entries, as files and reports spell them."""
        return tuple(entry.label for entry in self.pose)

    @property
    def image_height(self) -> int:
        """Rows of a picture [px]."""
        return sides(self.image_size)[0]

    @property
    def image_width(self) -> int:
        """Columns of a picture [px]."""
        return sides(self.image_size)[1]
