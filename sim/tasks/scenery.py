"""Factors of flat scenes seen from above that change the picture alone: tilt, floor, clutter.

The scene's floor is a geom ``canvas``; what lies on it as clutter touches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from sim.randomization import Choice, Factor, Interval

FAR = 3.0  # distance of a tilted camera in widths of its view: 1.5 m over a table of 0.5 m
CELLS = 16  # of a pattern across the view
RESOLUTION = 128  # of a pattern [px]
CONTRAST = 0.5  # of a pattern: from the floor's colour towards black, or white where it is dark
MOVING, SPEED = "clutter_moving", 0.1  # widths of the view per second
GRAY, MAGENTA = (0.6, 0.6, 0.6), (0.85, 0.1, 0.8)
PLACES = 8  # of clutter


def scenery_factors(floor: str = "plain") -> dict[str, Factor]:
    """Factors of :func:`apply_scenery`.

    Args:
        floor: pattern of the unvaried scene's.
    """
    return {
        "camera_pitch": Interval(0.0, -2.0, 2.0, (-10.0, -5.0, 5.0, 10.0)),
        "texture": Choice(floor, (floor, "checker"), ("noise", "stripes", "gradient")),
        "distractors": Choice(0, (0, 1, 2), (4, 8, "moving")),
    }


def apply_scenery(
    spec: mujoco.MjSpec, camera: str, view: float, middle: np.ndarray, height: float, color: Any,
    nominal: str, factors: Mapping[str, Any],
) -> None:  # fmt: skip
    """Tilt the camera, pattern the floor and strew clutter over it.

    Args:
        view: width that the camera sees [m].
        middle: of the scene on the ground ``[2]`` [m].
        height: at which clutter lies [m].
        color: of the floor.
        nominal: pattern that the scene's file has already.
    """
    if factors.get("texture", nominal) != nominal:
        _pattern(spec, factors["texture"], view, middle, np.asarray(color, float))
    if clutter := factors.get("distractors", 0):
        _strew(spec, clutter, view, middle, height)
    if pitch := factors.get("camera_pitch", 0.0):
        _tilt(spec, camera, view, pitch)


def animate_scenery(model: mujoco.MjModel, view: float, middle: float, time: float) -> None:
    """Bring clutter that moves to where it is at ``time`` [s]: to and fro across the view."""
    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, MOVING)
    if index >= 0:
        across = np.abs(SPEED * time % 1.6 - 0.8)  # 0.8 widths there, 0.8 back
        model.geom_pos[index][0] = middle + view * (across - 0.4)


def _tilt(spec: mujoco.MjSpec, name: str, view: float, pitch: float) -> None:
    """Swing a camera about its picture's horizontal through what it looks at on the ground [deg].

    A parallel projection would hardly show it: the camera then has a perspective from ``FAR``. It
    is not turned on the spot, which would move the table out of the picture.
    """
    camera, axes = spec.camera(name), np.empty(9)
    mujoco.mju_quat2Mat(axes, camera.quat / np.linalg.norm(camera.quat))
    right, _, back = axes.reshape(3, 3).T
    pivot = camera.pos - back * camera.pos[2] / back[2]
    distance = float(np.linalg.norm(camera.pos - pivot))
    if camera.proj == mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC:
        camera.proj, distance = mujoco.mjtProjection.mjPROJ_PERSPECTIVE, FAR * view
        camera.fovy = 2 * np.rad2deg(np.arctan(0.5 / FAR))
    swing, turned = np.empty(4), np.empty(4)
    mujoco.mju_axisAngle2Quat(swing, right, np.deg2rad(pitch))
    mujoco.mju_mulQuat(turned, swing, camera.quat)
    mujoco.mju_rotVecQuat(back_now := np.empty(3), back, swing)
    camera.quat, camera.pos = turned, pivot + distance * back_now


def _pattern(
    spec: mujoco.MjSpec, kind: str, view: float, middle: np.ndarray, color: np.ndarray
) -> None:
    """Cover the floor with a pattern, one tile as wide as the view."""
    cell = np.arange(RESOLUTION) * CELLS // RESOLUTION
    strength = {
        "plain": lambda: np.zeros((RESOLUTION, RESOLUTION)),
        "checker": lambda: np.add.outer(cell, cell) % 2,
        "stripes": lambda: np.tile(cell % 2, (RESOLUTION, 1)),
        "gradient": lambda: np.tile(np.linspace(0, 1, RESOLUTION), (RESOLUTION, 1)),
        "noise": lambda: np.random.default_rng(0).random((CELLS * 2, CELLS * 2)).repeat(
            RESOLUTION // CELLS // 2, 0).repeat(RESOLUTION // CELLS // 2, 1),
    }[kind]()  # fmt: skip
    end = 0.0 if color.mean() > 0.5 else 1.0
    picture = color + CONTRAST * strength[..., None] * (end - color)
    texture = spec.add_texture(
        name="pattern", type=mujoco.mjtTexture.mjTEXTURE_2D, width=RESOLUTION, height=RESOLUTION,
        nchannel=3,
    )  # fmt: skip
    texture.data = np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8).tobytes()
    material = spec.add_material(name="pattern", texrepeat=[1, 1], texuniform=False)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "pattern"
    canvas = spec.geom("canvas")
    canvas.material, canvas.rgba = "pattern", [1, 1, 1, 1]
    if canvas.type == mujoco.mjtGeom.mjGEOM_BOX:  # reaches beyond the picture: 3 tiles across
        material.texrepeat, canvas.pos = [3, 3], [*middle, canvas.pos[2]]
        canvas.size = [1.5 * view, 1.5 * view, canvas.size[2]]


def _strew(
    spec: mujoco.MjSpec, clutter: int | str, view: float, middle: np.ndarray, height: float
) -> None:
    """Discs and boxes in turn at fixed places, each fourth magenta; or a magenta one that moves."""
    places = np.random.default_rng(0).permutation(PLACES)
    names = [MOVING] if clutter == "moving" else [f"clutter_{i}" for i in range(int(clutter))]
    for i, name in enumerate(names):
        turn = 2 * np.pi * places[i] / PLACES
        radius = view * (0.22 if i % 2 else 0.38)
        kind = mujoco.mjtGeom.mjGEOM_CYLINDER if i % 2 == 0 else mujoco.mjtGeom.mjGEOM_BOX
        flat, wide = 0.001, 0.035 * view
        # No body of its own: that would change the size of the state.
        spec.worldbody.add_geom(
            name=name, type=kind, contype=0, conaffinity=0, mass=0, group=2,
            pos=[middle[0] + radius * np.cos(turn), middle[1] + radius * np.sin(turn), height],
            size=[wide, flat, 0] if i % 2 == 0 else [wide, wide, flat],
            rgba=[*(MAGENTA if i % 4 == 3 or name == MOVING else GRAY), 1],
        )  # fmt: skip
