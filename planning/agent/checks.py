"""What is checked before a plan: whether its parts fit together, and whether it knows its goal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from planning.agent.protocols import ChecksGoals, RestoresPictures
from planning.agent.restoring.camera import View
from planning.optimizers.base import Optimizer
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import Proposer, WorldModel


def check_agent(
    model: WorldModel[Any],
    optimizer: Optimizer,
    horizon: int,
    execute: int,
    proposals: int,
    memory_mb: int,
    deadline: float,
    levels: int,
) -> None:
    """What :class:`planning.agent.mpc.MPCAgent` is built of fits together.

    Raises:
        ConfigError: a value out of range, or proposals asked of a model that makes none.
    """
    spec = model.spec
    low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)
    least, most = optimizer.proposals_accepted
    for holds, received, accepted, next_step in (
        (horizon >= 1, f"horizon = {horizon}", "at least 1", "plan at least one block"),
        (1 <= execute <= horizon, f"execute = {execute}", f"1 to {horizon}", "lower `execute`"),
        (deadline >= 0, f"deadline = {deadline}", "0 (none) or seconds", "raise it"),
        (levels >= 0, f"levels = {levels}", "0 (no rounding) or more", "raise it"),
        (memory_mb >= 0, f"memory_mb = {memory_mb}", "0 (never split) or more", "raise it"),
        (
            least <= proposals <= most,
            f"proposals = {proposals}",
            f"{least} to {most}",
            "change `planner.proposals`",
        ),
        (
            proposals == 0 or isinstance(model, Proposer),
            f"proposals = {proposals} of {type(model).__name__}, which has no learned actor",
            "0, or a model with a `propose` method",
            "set `proposals: 0` or train a proposal model",
        ),
        (
            np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all(),
            f"action bounds {spec.action_low} to {spec.action_high}",
            "finite, low below high",
            "correct the model's spec",
        ),
    ):
        if not holds:
            raise ConfigError(received, accepted, next_step)


def check_known(agent: Any, images: np.ndarray, passed: Sequence[np.ndarray] = ()) -> None:
    """Refuse goal images unlike everything an agent's model has seen, if it can tell.

    Args:
        images, passed: uint8 ``[K, h, w, 3]`` of the goal, and images on the way to it; looked at
            as the planner will see them.

    Raises:
        InputError: one is.
    """
    if isinstance(agent.model, ChecksGoals):
        view = agent.view_of(images) if isinstance(agent, RestoresPictures) else View()
        for image in (*images, *passed):
            agent.model.check_goal(view.restore(image.copy()))


def as_planned(agent: Any, image: np.ndarray) -> np.ndarray:
    """A frame as an agent's model will see it."""
    return agent.view.restore(image) if isinstance(agent, RestoresPictures) else image
