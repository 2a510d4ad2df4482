"""Goal images as they come from a caller, copied and checked before anything changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from export.robot.messages import blank
from planning.agent.camera import View
from planning.agent.mpc import MPCAgent
from planning.agent.protocols import ChecksGoals, RestoresPictures
from robot_wm.core.errors import InputError
from robot_wm.core.images import Size
from robot_wm.core.protocols import check_image


def pictures(goal: Any, size: Size) -> np.ndarray:
    """Copies of goal images, one or several, uint8 ``[K, height, width, 3]``.

    Raises:
        InputError: another size or dtype, or an image of one colour.
    """
    try:
        images = np.array(goal)
    except Exception as error:  # whatever an array's own methods raise
        raise InputError(f"a goal that is no image: {error}", "uint8 pixels", "pass an image")\
            from error  # fmt: skip
    images = images[None] if images.ndim == 3 else images
    check_image(images, size)
    for image in images:
        if blank(image):
            raise InputError(
                "a goal image of one colour", "a picture of the scene", "look at the goal"
            )
    return images


def on_the_way(via: Any, size: Size) -> Any:
    """Copies of the images to pass, uint8 ``[V, height, width, 3]``, or none.

    Raises:
        InputError: no list of images, or see :func:`pictures`.
    """
    try:
        each = list(via)
    except Exception as error:
        raise InputError(f"via = {via!r}", "a list of images", "pass () for none") from error
    return np.concatenate([pictures(image, size) for image in each]) if each else ()


def as_planned(agent: Any, image: np.ndarray) -> np.ndarray:
    """A frame as the agent's model will see it."""
    return agent.view.restore(image) if isinstance(agent, RestoresPictures) else image


def check_known(agent: MPCAgent, images: np.ndarray, passed: Sequence[np.ndarray] = ()) -> None:
    """Refuse goal images unlike everything the model has seen, if it can tell.

    Args:
        images, passed: of the goal and on the way to it, seen as the planner will see them.

    Raises:
        InputError: one is.
    """
    if isinstance(agent.model, ChecksGoals):
        view = agent.view_of(images) if isinstance(agent, RestoresPictures) else View()
        for image in (*images, *passed):
            agent.model.check_goal(view.restore(image.copy()))
