"""Goal images as they come from a caller, copied and checked before anything changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.robot.messages import blank
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
