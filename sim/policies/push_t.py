"""Scripted behaviours of push_t."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.policies.base import Policy
from sim.tasks.base import wrap
from sim.tasks.push_t import ORIGIN_OFFSET, REACH


class PushTExpert(Policy):
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
        self._prefer, self._travel, self._ties = 0.0, 0.6, 0.05

    def vary(self, rng: np.random.Generator) -> None:
        """Tempo, way round the block, price of walking [1/m], chance in the choice of contact."""
        self._tempo = float(rng.choice([1.0, 1.0, 0.8, 0.6]))
        self._prefer = float(rng.choice([0.0, 0.0, 1.0, -1.0]))
        self._travel = float(rng.choice([0.3, 0.6, 1.2, 2.5]))
        self._ties = float(rng.choice([0.02, 0.05, 0.15]))

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Move to the best contact, then push through it."""
        assert self.goal is not None
        center, angle = self._center(pose), pose[4]
        error = self._center(self.goal) - center
        turn = float(wrap(self.goal[4] - angle))
        self._steps += 1
        if self._keep and np.linalg.norm(error) < 0.006 and abs(turn) < 0.06:
            return self._towards(pose, self.goal[:2], center, angle)
        if not self._keep and (
            self._steps > 80 or (np.linalg.norm(error) < 0.012 and abs(turn) < 0.12)
        ):
            self.goal, self._contact, self._steps = self._draw_goal(), -1, 0
            return np.zeros(2)
        c, s = np.cos(angle), np.sin(angle)
        rotation = np.array([[c, -s], [s, c]])
        world = center + self.points @ rotation.T
        normals = self.normals @ rotation.T
        wanted = np.append(error, self.GYRATION * turn)
        twist = np.column_stack([self.linear @ rotation.T, self.GYRATION * self.angular])
        gain = twist @ wanted / np.linalg.norm(wanted)
        here = pose[:2]
        stand = world - normals * (self.PUSHER + 0.012)
        travel = np.linalg.norm(stand - here, axis=1)
        # A little chance in the choice breaks the ties in which a scripted pusher gets stuck.
        chance = self.rng.standard_normal(len(gain))
        score = gain - self._travel * travel + self._ties * chance
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
        return self._towards(pose, stand[i], center, angle)

    @staticmethod
    def _center(pose: np.ndarray) -> np.ndarray:
        return pose[2:4] - ORIGIN_OFFSET * np.array([-np.sin(pose[4]), np.cos(pose[4])])

    def _towards(
        self, pose: np.ndarray, target: np.ndarray, center: np.ndarray, angle: float
    ) -> np.ndarray:
        """Walk to a point without touching the block: straight if clear, else around it."""
        here = pose[:2]
        path = here + np.linspace(0, 1, 12)[:, None] * (target - here)
        if (self._clearance(path[:-2], center, angle) > self.PUSHER + 0.003).all():
            self._way = 0.0
            return self._tempo * np.clip((target - here) / (0.407 * REACH), -1, 1)
        a, b = here - center, target - center
        sweep = float(wrap(np.arctan2(b[1], b[0]) - np.arctan2(a[1], a[0])))
        # One way round until it is clear.
        self._way = self._way or self._prefer or float(np.sign(sweep)) or 1.0
        radius = float(np.linalg.norm(a))
        turn = self._way * (0.1 if radius < 0.09 else 0.6)
        heading = np.arctan2(a[1], a[0]) + turn
        step = center + 0.108 * np.array([np.cos(heading), np.sin(heading)]) - here
        return self._tempo * np.clip(step / (0.407 * REACH), -1, 1)

    def _clearance(self, points: np.ndarray, center: np.ndarray, angle: float) -> np.ndarray:
        """Signed distance of points to the T's two boxes [m]."""
        c, s = np.cos(angle), np.sin(angle)
        local = (points - center) @ np.array([[c, -s], [s, c]])
        gaps = []
        for middle, half in (((0, 0.030), (0.060, 0.015)), ((0, -0.030), (0.015, 0.045))):
            q = np.abs(local - middle) - half
            gaps.append(np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0))
        return np.minimum(*gaps)


class PushTWeak(Policy):
    """Uniform actions, the target clipped to a 0.1 m square around the block: contact by chance."""

    def action(self, pose: np.ndarray) -> np.ndarray:
        """As the reference scene's weak policy."""
        target = pose[:2] + REACH * self.rng.uniform(-1, 1, 2)
        target = np.clip(target, pose[2:4] - REACH, pose[2:4] + REACH)
        return np.clip((target - pose[:2]) / REACH, -1, 1)
