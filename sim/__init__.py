"""Scenes, tasks, variation, behaviours and collection. MuJoCo lives here and nowhere else."""

import importlib

from robot_wm.core.system.opengl import unnamed

try:
    importlib.import_module("mujoco")
except ModuleNotFoundError:
    raise
# MUJOCO_GL names another system's OpenGL, or one whose library is not there: whatever error that
# library makes of it, scenes need no OpenGL before they draw.
except Exception:
    with unnamed():
        importlib.import_module("mujoco")

from sim.env import GoalEnv, make
from sim.tasks import TASKS

__all__ = ["TASKS", "GoalEnv", "make"]
