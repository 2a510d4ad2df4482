"""The manipulation scene of OGBench, put together from the models that its wheel holds.

A UR5e arm with a Robotiq 2F-85 gripper, a cube, a floor, four fences that hold the cube alone, and
the camera of OGBench's pictures (Park et al., arXiv 2410.20092; ``manipspace`` of the package
``ogbench``, MIT licence). Its files are read where they are installed; nothing of them is kept
here. The numbers below are those that the package writes in Python, not in its XML files.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.system.extras import EXTRAS, installed

NEEDS = ("ogbench", "fast_simplification")
CAMERA = "front_pixels"
RIGHT, UP = (0.0, 1.0, 0.0), (-0.628, 0.001, 0.778)  # axes of that camera
STIFFNESS = {"shoulder_pan": 4500, "shoulder_lift": 4500, "elbow": 4500,
             "wrist_1": 2000, "wrist_2": 2000, "wrist_3": 500}  # [N·m/rad]  # fmt: skip
PURPLE = (0.61, 0.28, 0.82)
GRIPPER = ("ur5e/robotiq/black", "ur5e/robotiq/pad_gray")  # materials that are painted purple


def packaged(name: str) -> Path:
    """A file of the package's models, whether or not it is installed; nothing is imported."""
    found = find_spec("ogbench")
    places = (found.submodule_search_locations if found else None) or ["ogbench"]
    return Path(places[0], "manipspace", "descriptions", name)


def check_installed() -> None:
    """Refuse to go on without the packages that the scene comes from.

    Raises:
        ConfigError: what is missing, and the extra that brings it.
    """
    if missing := [EXTRAS[name] for name in NEEDS if not installed(name)]:
        names, extras = zip(*missing, strict=True)
        raise ConfigError(
            f"a scene of {', '.join(names)}: not installed", f"an environment with {extras[0]}",
            f"run `make setup`, or pip install -e '.[{extras[0]}]', or choose another task",
        )  # fmt: skip


def arm() -> mujoco.MjSpec:
    """The arm alone, without its light and its key frame.

    Raises:
        ConfigError: the package is not installed.
    """
    check_installed()
    spec = mujoco.MjSpec.from_file(str(packaged("universal_robots_ur5e/ur5e.xml")))
    for element in (*spec.lights, *spec.keys):
        spec.delete(element)
    for name, stiffness in STIFFNESS.items():
        actuator = spec.actuator(name)
        actuator.gainprm[0], actuator.biasprm[1] = stiffness, -stiffness
    return spec


def attach_hand(robot: mujoco.MjSpec) -> mujoco.MjSpec:
    """The arm with the gripper at its flange; contacts are the gripper's."""
    hand = mujoco.MjSpec.from_file(str(packaged("robotiq_2f85/2f85.xml")))
    robot.option.cone, robot.option.impratio = hand.option.cone, hand.option.impratio
    robot.attach(hand, site=robot.site("attachment_site"), prefix="robotiq/")
    return robot


def drop_unseen(spec: mujoco.MjSpec) -> None:
    """Delete meshes that no geom has, which would be read all the same."""
    used = {geom.meshname for geom in spec.geoms}
    for mesh in [mesh for mesh in spec.meshes if mesh.name not in used]:
        spec.delete(mesh)


def scene() -> mujoco.MjSpec:
    """The whole scene in the package's own look, with an opaque arm and no mark of a goal.

    Raises:
        ConfigError: the package is not installed.
    """
    return _assembled().copy()


@cache
def _assembled() -> mujoco.MjSpec:
    robot = attach_hand(arm())
    world, cube = (
        mujoco.MjSpec.from_file(str(packaged(name))) for name in ("floor_wall.xml", "cube.xml")
    )
    for name in ("integrator", "cone", "impratio"):
        setattr(world.option, name, getattr(robot.option, name))
    world.attach(robot, frame=world.worldbody.add_frame(), prefix="ur5e/")
    cube.delete(cube.body("object_target_0"))
    world.attach(cube, frame=world.worldbody.add_frame(), prefix="cube/")
    for name in GRIPPER:
        world.material(name).rgba = [*PURPLE, 1.0]
    axes = np.stack([RIGHT, UP, np.cross(RIGHT, UP)], 1)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, (axes / np.linalg.norm(axes, axis=0)).ravel())
    world.worldbody.add_camera(name=CAMERA, pos=[1.053, -0.014, 0.639], quat=quaternion)
    world.stat.center, world.stat.extent, world.stat.meansize = [0.3, 0.0, 0.15], 0.7, 0.04
    world.visual.map.znear, world.visual.map.zfar = 0.1, 10.0
    return world
