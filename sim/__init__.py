"""Scenes, tasks, variation, behaviours and collection. MuJoCo lives here and nowhere else."""

from sim.env import GoalEnv, make
from sim.tasks import TASKS

__all__ = ["TASKS", "GoalEnv", "make"]
