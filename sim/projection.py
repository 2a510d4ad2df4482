"""Where in the picture a point of the world is seen."""

from __future__ import annotations

import mujoco
import numpy as np


def project(model: mujoco.MjModel, data: mujoco.MjData, camera: str, points: np.ndarray,
            aspect: float = 1.0) -> np.ndarray:  # fmt: skip
    """World points as fractions of the picture.

    Args:
        data: of a scene whose camera has been placed (``mj_forward`` or ``mj_camlight``).
        camera: name of a fixed camera, orthographic or with perspective.
        points: ``[..., 3]`` [m].
        aspect: width of the picture over its height.

    Returns:
        ``[..., 2]``: 0 to 1 from left to right and from top to bottom, beyond outside the picture.
    """
    index = model.camera(camera).id
    axes = data.cam_xmat[index].reshape(3, 3)  # columns: right, up, backwards
    seen = (np.asarray(points, np.float64) - data.cam_xpos[index]) @ axes
    height = model.cam_fovy[index]  # [m] where orthographic, else [degrees]
    if model.cam_projection[index] == mujoco.mjtProjection.mjPROJ_PERSPECTIVE:
        height = -2 * seen[..., 2] * np.tan(np.deg2rad(height) / 2)
    return np.stack([0.5 + seen[..., 0] / (height * aspect), 0.5 - seen[..., 1] / height], -1)
