"""Pushing the T: towards goals, by chance, and small corrections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.behaviours.base import Behaviour
from sim.tasks.base import wrap
from sim.tasks.push_t import ORIGIN_OFFSET, REACH


class PushTExpert(Behaviour):
    """Chooses the contact whose quasi-static push best reduces the block's pose error.

    A frictionless push along the inward normal n at point r moves the block with the twist
    F (n / c, (r × n) / d), c and d being its slide and hinge damping; F is set by the pusher's
    speed along n. The pusher walks around the block to that contact, then pushes.
    """

    SLIDE, HINGE, GYRATION = 20.0, 0.06, 0.0548
    # Outline of the T around its centre of gravity, counter-clockwise [m].
    OUTLINE = np.array(
        [(0.06, 0.045), (-0.06, 0.045), (-0.06, 0.015), (-0.015, 0.015),
         (-0.015, -0.075), (0.015, -0.075), (0.015, 0.015), (0.06, 0.015)]
    )  # fmt: skip
    PUSHER = 0.015

    def __init__(self, task: str, noise: float = 0.0) -> None:
        super().__init__(task, noise)
        points, normals = [], []
        for a, b in zip(self.OUTLINE, np.roll(self.OUTLINE, -1, 0), strict=True):
            edge = b - a
            inward = np.array([-edge[1], edge[0]]) / np.linalg.norm(edge)
            count = max(2, int(np.linalg.norm(edge) / 0.015))
            for s in (np.arange(count) + 0.5) / count:
                points.append(a + s * edge)
                normals.append(inward)
        self.points, self.normals = np.array(points), np.array(normals)
        (x, y), (nx, ny) = self.points.T, self.normals.T
        torque = x * ny - y * nx
        force = 1 / (1 / self.SLIDE + torque**2 / self.HINGE)
        self.linear = force[:, None] * self.normals / self.SLIDE
        self.angular = force * torque / self.HINGE

    def reset(
        self,
        rng: np.random.Generator,
        goal: np.ndarray | None = None,
        factors: Mapping[str, Any] | None = None,
    ) -> None:
        """Forget the contact; data is made at a tempo drawn per episode, goals at full speed."""
        super().reset(rng, goal, factors)
        self._tempo = 1.0 if self._keep else rng.uniform(0.4, 0.9)
        self._contact, self._age, self._way, self._steps = -1, 0, 0.0, 0

    def choose(self, pose: np.ndarray) -> np.ndarray:
        """Move to the best contact, then push through it."""
        assert self.goal is not None
        centre, angle = self._centre(pose), pose[4]
        error = self._centre(self.goal) - centre
        turn = float(wrap(self.goal[4] - angle))
        self._steps += 1
        if self._keep and np.linalg.norm(error) < 0.006 and abs(turn) < 0.06:
            return self._towards(pose, self.goal[:2], centre, angle)
        if not self._keep and (
            self._steps > 80 or (np.linalg.norm(error) < 0.012 and abs(turn) < 0.12)
        ):
            self.goal, self._contact, self._steps = self._draw_goal(), -1, 0
            return np.zeros(2)
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s], [s, c]])
        world = centre + self.points @ rotation.T
        normals = self.normals @ rotation.T
        wanted = np.append(error, self.GYRATION * turn)
        twist = np.column_stack([self.linear @ rotation.T, self.GYRATION * self.angular])
        gain = twist @ wanted / np.linalg.norm(wanted)
        here = pose[:2]
        stand = world - normals * (self.PUSHER + 0.012)
        travel = np.linalg.norm(stand - here, axis=1)
        # A little chance in the choice breaks the ties in which a scripted pusher gets stuck.
        score = gain - 0.6 * travel + 0.05 * self.rng.standard_normal(len(gain))
        # A contact is kept while it still helps: re-choosing every step dithers.
        self._age += 1
        if self._contact < 0 or self._age > 25 or gain[self._contact] < 0.15:
            score[((stand < 0.012) | (stand > 0.5)).any(axis=1)] -= 1.0
            self._contact, self._age = int(score.argmax()), 0
            self._way = 0.0
        i = self._contact
        along = (here - world[i]) @ normals[i]
        across = (here - world[i]) - along * normals[i]
        if np.linalg.norm(across) < 0.008 and along < 0.01:
            depth = min(0.06, np.linalg.norm(wanted) / max(gain[i], 0.2))
            lead = self.PUSHER + along  # gap to contact is negative of this
            velocity = normals[i] * (depth - lead) - 1.0 * across
            return self._tempo * np.clip(velocity / (0.407 * REACH), -1, 1)
        return self._towards(pose, stand[i], centre, angle)

    @staticmethod
    def _centre(pose: np.ndarray) -> np.ndarray:
        return pose[2:4] - ORIGIN_OFFSET * np.array([-np.sin(pose[4]), np.cos(pose[4])])

    def _towards(
        self, pose: np.ndarray, target: np.ndarray, centre: np.ndarray, angle: float
    ) -> np.ndarray:
        """Walk to a point without touching the block: straight if clear, else around it."""
        here = pose[:2]
        path = here + np.linspace(0, 1, 12)[:, None] * (target - here)
        if (self._clearance(path[:-2], centre, angle) > self.PUSHER + 0.003).all():
            self._way = 0.0
            return self._tempo * np.clip((target - here) / (0.407 * REACH), -1, 1)
        a, b = here - centre, target - centre
        sweep = float(wrap(np.arctan2(b[1], b[0]) - np.arctan2(a[1], a[0])))
        self._way = self._way or float(np.sign(sweep)) or 1.0  # one way round until it is clear
        radius = float(np.linalg.norm(a))
        turn = self._way * (0.1 if radius < 0.09 else 0.6)
        heading = np.arctan2(a[1], a[0]) + turn
        step = centre + 0.108 * np.array([np.cos(heading), np.sin(heading)]) - here
        return self._tempo * np.clip(step / (0.407 * REACH), -1, 1)

    def _clearance(self, points: np.ndarray, centre: np.ndarray, angle: float) -> np.ndarray:
        """Signed distance of points to the T's two boxes [m]."""
        c, s = np.cos(angle), np.sin(angle)
        local = (points - centre) @ np.array([[c, -s], [s, c]])
        gaps = []
        for middle, half in (((0, 0.030), (0.060, 0.015)), ((0, -0.030), (0.015, 0.045))):
            q = np.abs(local - middle) - half
            gaps.append(np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0))
        return np.minimum(*gaps)


class PushTCorrector(PushTExpert):
    """Leaves its place, moves the block a little, and comes back: what corrects a near miss.

    In hindsight each such round shows how to reach a goal that differs by a few millimetres of the
    block and hardly at all of the pusher, for which the expert's episodes have few examples. Now
    and then it settles at another place beside the block.
    """

    DEPTH = (0.002, 0.04)  # a push, beyond contact [m]
    STRAY = 0.25  # how often it stays where the push has ended, or beside another contact
    PATIENCE = 20  # control steps for each part of a round
    REST = 8  # at most as many between two rounds

    def reset(
        self,
        rng: np.random.Generator,
        goal: np.ndarray | None = None,
        factors: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a round at the first pose seen."""
        super().reset(rng, goal, factors)
        self._tempo = rng.uniform(0.6, 1.0)
        self._rest()

    def choose(self, pose: np.ndarray) -> np.ndarray:
        """Approach, push, return."""
        here, angle, centre = pose[:2], pose[4], self._centre(pose)
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s], [s, c]])
        world = centre + self.points @ rotation.T
        normals = self.normals @ rotation.T
        self._steps += 1
        if self._part == "rest":
            if self._steps < self._pause:
                return np.zeros(2)
            self._begin(here, world, normals)
        i = self._contact
        stand = world[i] - normals[i] * (self.PUSHER + 0.012)
        if self._part == "approach":
            if np.linalg.norm(stand - here) < 0.008:
                depth = np.exp(self.rng.uniform(*np.log(self.DEPTH)))
                self._target = world[i] + normals[i] * (depth - self.PUSHER)
                self._enter("push")
            elif self._steps < self.PATIENCE:
                return self._towards(pose, stand, centre, angle)
            else:
                return self._rest()
        if self._part == "push":
            left = self._target - here
            if np.linalg.norm(left) > 0.004 and self._steps < self.PATIENCE:
                return self._tempo * np.clip(left / (0.407 * REACH), -1, 1)
            self._enter("return")
            if self.rng.random() < self.STRAY:
                j, gap = int(self.rng.integers(len(world))), self.rng.uniform(0.0, 0.05)
                beside = world[j] - normals[j] * (self.PUSHER + gap)
                self._home = self._target if self.rng.random() < 0.5 else beside
        if np.linalg.norm(self._home - here) < 0.005 or self._steps >= self.PATIENCE:
            return self._rest()
        return self._towards(pose, self._home, centre, angle)

    def _rest(self) -> np.ndarray:
        self._enter("rest")
        self._pause = int(self.rng.integers(self.REST))
        return np.zeros(2)

    def _enter(self, part: str) -> None:
        self._part, self._steps, self._way = part, 0, 0.0

    def _begin(self, here: np.ndarray, world: np.ndarray, normals: np.ndarray) -> None:
        """Choose a contact whose push leaves the block in the picture; remember this place."""
        stand = world - normals * (self.PUSHER + 0.012)
        middle = world.mean(axis=0) + 0.04 * normals
        weight = ((stand > 0.02) & (stand < 0.49)).all(axis=1).astype(float)
        weight *= ((middle > 0.09) & (middle < 0.42)).all(axis=1) + 1e-3
        weight += 1e-9
        self._contact = int(self.rng.choice(len(world), p=weight / weight.sum()))
        self._home = here.copy()
        self._enter("approach")


class PushTWeak(Behaviour):
    """Uniform actions, the target clipped to a 0.1 m square around the block: contact by chance."""

    def choose(self, pose: np.ndarray) -> np.ndarray:
        """As the reference scene's weak policy."""
        target = pose[:2] + REACH * self.rng.uniform(-1, 1, 2)
        target = np.clip(target, pose[2:4] - REACH, pose[2:4] + REACH)
        return np.clip((target - pose[:2]) / REACH, -1, 1)
