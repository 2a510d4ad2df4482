"""Scripted behaviours of cube."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.policies.base import Policy
from sim.tasks.base import wrap
from sim.tasks.cube import ANGLE, CUBE, GRASP, HALF, OPENING, PINCH, START, TABLE, TURN

OPEN, CLOSE = -1.0, 1.0


class CubeExpert(Policy):
    """Picks the cube, carries and puts it, then brings the gripper where the goal has it.

    OGBench's Markov oracle (``manipspace/oracles/markov/cube_markov.py``) from poses alone: contact
    of the fingers is told by how far they are closed. Data is made as there, at full speed towards
    targets that are drawn; a goal that is given is approached precisely, and may have the cube in
    the gripper.
    """

    spread = np.array([1.0, 1.0, 1.0, 3.0, 10.0])  # of the noise, by entry of an action
    STRETCH, GAIN, TURNING = 0.4, 5.0, 3.0  # [m], [1/m], [1/rad]: the oracle's own
    STOP = 0.035  # from a given goal the speed falls [m]
    TOUCH, WIDER = 0.517, 0.45  # closed as far at the cube, and less for a cube as large again
    PATIENCE = 200  # control steps until another target is drawn

    def reset(
        self,
        rng: np.random.Generator,
        goal: np.ndarray | None = None,
        factors: Mapping[str, Any] | None = None,
    ) -> None:
        """Start an episode; a given goal is pursued low and fast."""
        super().reset(rng, goal, factors)
        size = float(self.factors.get("cube_size", 1.0))
        self._half, self._touch = HALF * size, self.TOUCH - self.WIDER * (size - 1)
        self._lift = 0.08 if self._keep else 0.18
        self._tempo, self._age = 1.0, 0

    def vary(self, rng: np.random.Generator) -> None:
        """Height of the way [m], and tempo."""
        self._lift = float(rng.choice([0.06, 0.08, 0.12, 0.18]))
        self._tempo = float(rng.choice([1.0, 1.0, 0.8, 0.6]))

    def act(self, pose: np.ndarray) -> np.ndarray:
        """Action with noise; the next target may keep the cube's present yaw."""
        self._here = pose
        return super().act(pose)

    def _draw_goal(self) -> np.ndarray:
        """A place on the table, the yaw kept in every second; then the gripper anywhere, open."""
        goal, self._age = np.zeros(len(self.task.pose_entries)), 0
        goal[CUBE] = [*self.rng.uniform(*TABLE), self._half]
        kept, other = self._here[TURN.start], self.rng.uniform(0, 2 * np.pi)
        goal[TURN.start] = kept if self.rng.random() < 0.5 else other
        goal[PINCH], goal[ANGLE] = self.rng.uniform(*START), self.rng.uniform(0, 2 * np.pi)
        return goal

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Pick, carry, put, leave: whatever comes next from where things are."""
        assert self.goal is not None
        if not self._keep and (self._age >= self.PATIENCE or self._done(pose)):
            self.goal = self._draw_goal()
        self._age += 1
        if self._stays_held(self.goal):
            return self._carry(pose) if self._held(pose) else self._pick(pose)
        if self._placed(pose):
            return self._leave(pose)
        return self._carry(pose) if self._held(pose) else self._pick(pose)

    def milestones(self, poses: np.ndarray) -> list[int]:
        """Above the cube, cube grasped, cube above the goal, cube put there.

        Args:
            poses: ``[T+1, K]``, see :class:`sim.demonstrations.ShowsMilestones`.
        """
        assert self.goal is not None
        cube, hand, closed = poses[:, CUBE], poses[:, PINCH], poses[:, OPENING]
        held = np.linalg.norm(cube - hand, axis=1) <= 0.02
        held &= closed > self._touch - 0.01
        there = np.linalg.norm(cube - self.goal[CUBE], axis=1) <= 0.02
        there &= held if self._stays_held(self.goal) else closed < GRASP
        if not there.any():
            return []
        put = int(there.argmax())
        if not held[:put].any():
            return [put]
        grasped = int(held.argmax())
        above = np.flatnonzero(hand[:grasped, 2] - cube[:grasped, 2] >= 0.04)[-1:]
        aside = np.linalg.norm((cube - self.goal[CUBE])[:, :2], axis=1)
        over = held & (aside <= 0.02) & (cube[:, 2] > self._half + 0.02)
        return [*above.tolist(), grasped, *np.flatnonzero(over[:put])[:1].tolist(), put]

    @property
    def _over(self) -> np.ndarray:
        return np.array([0.0, 0.0, self._lift])

    def _near(self, pose: np.ndarray) -> float:
        return float(np.linalg.norm(pose[CUBE] - pose[PINCH]))

    def _held(self, pose: np.ndarray) -> bool:
        return self._near(pose) <= 0.02 and pose[OPENING] > self._touch - 0.01

    def _stays_held(self, goal: np.ndarray) -> bool:
        """Whether a given goal has the cube between the fingers; they may hold it askew."""
        closed = goal[OPENING] > self._touch - 0.03
        return self._keep and closed and self._near(goal) <= 0.03

    def _placed(self, pose: np.ndarray) -> bool:
        """Whether the cube may be let go, or left, where it is."""
        assert self.goal is not None
        gap = float(np.linalg.norm(self.goal[CUBE] - pose[CUBE]))
        if not self._keep:
            return gap <= 0.02
        turn = abs(self._turn(pose))
        return (gap <= 0.008 and turn <= 0.07) if self._held(pose) else gap <= 0.02 and turn <= 0.17

    def _done(self, pose: np.ndarray) -> bool:
        assert self.goal is not None
        arrived = np.linalg.norm(self.goal[PINCH] - pose[PINCH]) <= 0.04
        return bool(arrived) and self._placed(pose)

    def _turn(self, pose: np.ndarray) -> float:
        """Yaw from the cube to the goal's, the short way among its four [rad]."""
        assert self.goal is not None
        return float(wrap(self.goal[TURN.start] - pose[TURN.start])) / 4

    def _pick(self, pose: np.ndarray) -> np.ndarray:
        """Above the cube, down to it, close."""
        cube, fine = pose[CUBE], self._keep
        turn = float(wrap(pose[TURN.start] - 4 * pose[ANGLE])) / 4
        aside = float(np.linalg.norm(cube[:2] - pose[PINCH][:2]))
        if aside > (0.015 if fine else 0.04):
            return self._move(pose, cube + self._over, turn, OPEN)
        ready = self._near(pose) <= (0.012 if fine else 0.02)
        return self._move(pose, cube, turn, CLOSE if ready else OPEN)

    def _carry(self, pose: np.ndarray) -> np.ndarray:
        """Up, over the goal, down; straight where both ends are in the air."""
        assert self.goal is not None
        target, cube, turn = self.goal[CUBE], pose[CUBE], self._turn(pose)
        aside = float(np.linalg.norm(target[:2] - cube[:2]))
        low = min(target[2], cube[2]) < self._half + 0.02
        if self._keep:
            target = target + pose[PINCH] - cube
        if aside > (0.02 if self._keep else 0.04) and low:
            up = pose[PINCH][2] > self._lift - 0.02
            target = target + self._over if up else np.append(cube[:2], 2 * self._lift)
        return self._move(pose, target, turn, CLOSE)

    def _leave(self, pose: np.ndarray) -> np.ndarray:
        """Open, up, then to the goal's gripper from above."""
        assert self.goal is not None
        place, goal = pose[PINCH], self.goal[PINCH]
        turn = float(wrap(self.goal[ANGLE] - pose[ANGLE]))
        if self._near(pose) <= 0.03 and pose[OPENING] > self._touch - 0.03:
            return self._move(pose, self.goal[CUBE], 0.0, OPEN)
        if not self._keep:
            low = place[2] <= 0.16
            target = np.append(pose[CUBE][:2], 0.32) if low else goal
            return self._move(pose, target, turn, OPEN)
        aside, around = np.linalg.norm(goal[:2] - place[:2]), pose[CUBE][:2] - place[:2]
        beside = np.linalg.norm(around) < 0.1 and place[2] < self._half + 0.06
        if aside > 0.03 and beside:
            return self._move(pose, np.append(place[:2], 0.2), 0.0, OPEN)
        height = max(float(goal[2]), self._lift) if aside > 0.03 else float(goal[2])
        grip = float(np.clip(self.goal[OPENING] - pose[OPENING], OPEN, CLOSE))
        return self._move(pose, np.append(goal[:2], height), turn, grip)

    def _move(self, pose: np.ndarray, target: np.ndarray, turn: float, grip: float) -> np.ndarray:
        """Action ``[5]`` that leads the gripper to a place [m] and turns it [rad]."""
        way = np.asarray(target) - pose[PINCH]
        if self._keep:
            step = way / self.STOP
            step = self._tempo * step / max(1.0, float(np.abs(step).max()))
            turn = 2 * self.TURNING * turn
        else:
            length = float(np.linalg.norm(way)) + 1e-6
            step = self.GAIN * way * max(1.0, self.STRETCH / length)
            turn = self.TURNING * turn
        return np.clip([*step, turn, grip], -1, 1)
