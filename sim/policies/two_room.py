"""Scripted behaviours of two_room."""

from __future__ import annotations

import numpy as np

from sim.policies.base import Policy
from sim.tasks.two_room import DOOR_HALF, DOOR_Y, RADIUS, WALL_HALF, WALL_X


class TwoRoomExpert(Policy):
    """Straight to the goal, through the middle of the door when it is in the other room."""

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Direction ``[2]`` to the next way-point, its larger entry 1, less within 50 mm of it."""
        assert self.goal is not None
        if np.linalg.norm(self.goal - pose) < 0.02 and not self._keep:
            self.goal = self._draw_goal()
        step = self._waypoint(pose) - pose
        return step / max(float(np.abs(step).max()), 0.05)

    def _waypoint(self, pose: np.ndarray) -> np.ndarray:
        assert self.goal is not None
        side, goal_side = np.sign(pose[0] - WALL_X), np.sign(self.goal[0] - WALL_X)
        gap = WALL_HALF + RADIUS + 0.01
        door = self.factors.get("door_y", DOOR_Y)
        in_door = abs(pose[0] - WALL_X) < gap and abs(pose[1] - door) < DOOR_HALF - RADIUS + 0.01
        if side == goal_side and not in_door:
            return self.goal
        if in_door or abs(pose[1] - door) < 0.04:
            return np.array([WALL_X + goal_side * (gap + 0.02), door])
        return np.array([WALL_X + side * gap, door])


class TwoRoomNoisy(TwoRoomExpert):
    """The reference data policy: heavy noise, and one action in twenty repeated."""

    def act(self, pose: np.ndarray) -> np.ndarray:
        """Action with noise, or the previous action again."""
        if self.rng.random() < 0.05:
            return self._last.astype(np.float32)
        return super().act(pose)
