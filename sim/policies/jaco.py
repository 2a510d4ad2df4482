"""Scripted behaviours of jaco_reach and jaco_push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.policies.base import Policy
from sim.tasks.base import wrap
from sim.tasks.jaco import GYRATION, HIGH, LOW, STEP, Jaco

TEMPOS = (0.5, 1.0)  # range of the tempo at which data are made
PATIENCE = 150  # control steps for a goal of its own


class _JacoPolicy(Policy):
    """Goals are drawn without a scene; data are made at a tempo drawn per episode."""

    task: Jaco

    def reset(
        self,
        rng: np.random.Generator,
        goal: np.ndarray | None = None,
        factors: Mapping[str, Any] | None = None,
    ) -> None:
        """A goal that is given is pursued at full speed."""
        super().reset(rng, goal, factors)
        self._tempo = 1.0 if self._keep else rng.uniform(*TEMPOS)
        self._steps = 0

    def _draw_goal(self) -> np.ndarray:
        self._steps = 0
        return self.task.sample_pose(self.rng)

    def _towards(self, here: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Straight to a place: the larger entry is the tempo, less within one step of it."""
        step = (target - here) / STEP
        return self._tempo * step / max(1.0, float(np.abs(step).max()))


class JacoReachExpert(_JacoPolicy):
    """Straight to the goal; one of its own is left after a while there."""

    def vary(self, rng: np.random.Generator) -> None:
        """Tempo."""
        self._tempo = float(rng.choice([1.0, 1.0, 0.8, 0.6]))

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Hand speed ``[3]`` as a fraction of the most."""
        assert self.goal is not None
        if not self._keep and np.linalg.norm(self.goal - pose) < 0.01:
            self.goal = self._draw_goal()
        return self._towards(pose, self.goal)


class JacoPushExpert(_JacoPolicy):
    """Walks around the brick to the contact whose push helps most, and steers while it pushes.

    A hand that sticks to the brick at a point r from its centre and moves by d moves it by the
    twist (f, r × f / ρ²) with (1 + r⊥ r⊥ᵀ / ρ²) f = d: quasi-static, the limit surface an ellipsoid
    (Lynch and Mason 1996) with radius ρ. It sticks while f lies in the cone of friction.
    """

    SIDES = np.array([0.045, 0.025])  # half length and width of the brick [m]
    HAND = 0.034  # radius of the closed fingers at the brick's height [m]
    NEAR, CLEAR = 0.014, 0.005  # gaps [m] at which it pushes, and which it keeps when it walks
    CONE = 0.8  # tangent of the cone's half angle, a little less than true
    WAYS = np.deg2rad([-50, -35, -20, -10, 0, 10, 20, 35, 50])  # of pushing, from the normal

    def reset(
        self,
        rng: np.random.Generator,
        goal: np.ndarray | None = None,
        factors: Mapping[str, Any] | None = None,
    ) -> None:
        """Forget the contact."""
        super().reset(rng, goal, factors)
        self._sides = self.SIDES * self.factors.get("brick_size", 1.0)
        self._points, self._normals = _outline(self._sides)
        self._contact, self._age, self._way = -1, 0, 0.0
        self._travel, self._prefer, self._ties = 1.0, 0.0, 0.03

    def vary(self, rng: np.random.Generator) -> None:
        """Tempo, price of walking [1/m], way round the brick, chance in the choice of contact."""
        self._tempo = float(rng.choice([1.0, 1.0, 0.8, 0.6]))
        self._travel = float(rng.choice([0.5, 1.0, 2.0, 4.0]))
        self._prefer = float(rng.choice([0.0, 0.0, 1.0, -1.0]))
        self._ties = float(rng.choice([0.02, 0.05, 0.15]))

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Hand speed ``[2]`` as a fraction of the most."""
        assert self.goal is not None
        self._steps += 1
        turn = float(wrap(self.goal[4] - pose[4]))
        missing = self.goal[2:4] - pose[2:4]
        home = np.linalg.norm(missing) < 0.008 and abs(turn) < 0.1
        if not self._keep and (home or self._steps > PATIENCE):
            self.goal, self._contact = self._draw_goal(), -1
            return np.zeros(2)
        c, s = np.cos(pose[4]), np.sin(pose[4])
        rotation = np.array([[c, -s], [s, c]])  # all that follows is in the brick's own frame
        here = (pose[:2] - pose[2:4]) @ rotation
        if home:
            return self._walk(pose, here, (self.goal[:2] - pose[2:4]) @ rotation, rotation)
        wanted = np.append(missing @ rotation, GYRATION * turn)
        point, normal = _nearest(here, self._sides)
        self._age += 1
        if normal.any() and -normal @ (here - point) < self.HAND + self.NEAR and self._age < 60:
            gain, heading = self._best(point[None], normal[None], wanted)
            if gain[0] > 0.4:
                most = min(1.0, (float(np.linalg.norm(wanted)) + 0.004) / STEP)
                return self._tempo * most * (rotation @ heading[0])
        return self._walk(pose, here, self._stand(pose, here, wanted, rotation), rotation)

    def _best(
        self, points: np.ndarray, normals: np.ndarray, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of pushes at points ``[M, 2]``: how well they go where wanted, -1 to 1, and headings."""
        c, s = np.cos(self.WAYS), np.sin(self.WAYS)
        (x, y), (nx, ny) = points.T[..., None], normals.T[..., None]
        headings = np.stack([c * nx - s * ny, s * nx + c * ny], -1)  # [M, W, 2]
        lever = np.stack([-y, x], -1)  # [M, 1, 2]
        stiff = np.eye(2) + lever[..., None] * lever[..., None, :] / GYRATION**2
        force = np.linalg.solve(stiff, headings[..., None])[..., 0]
        twist = np.concatenate([force, (force * lever).sum(-1, keepdims=True) / GYRATION], -1)
        gain = twist @ wanted / np.linalg.norm(twist, axis=-1) / np.linalg.norm(wanted)
        along = force[..., 0] * nx + force[..., 1] * ny
        across = np.abs(force[..., 1] * nx - force[..., 0] * ny)
        gain[across > self.CONE * along] = -1.0
        best = gain.argmax(1)
        rows = np.arange(len(points))
        return gain[rows, best], headings[rows, best]

    def _stand(
        self, pose: np.ndarray, here: np.ndarray, wanted: np.ndarray, rotation: np.ndarray
    ) -> np.ndarray:
        """Where to push from next ``[2]``; a choice is kept for a while, re-choosing dithers."""
        stands = self._points - self._normals * (self.HAND + self.NEAR - 0.004)
        if self._contact < 0 or self._age > 40:
            gain, _ = self._best(self._points, self._normals, wanted)
            world = pose[2:4] + stands @ rotation.T
            outside = ((world < LOW[:2]) | (world > HIGH[:2])).any(1)
            chance = self._ties * self.rng.standard_normal(len(gain))
            walk = self._travel * np.linalg.norm(stands - here, axis=1)
            self._contact = int((gain - walk + chance - outside).argmax())
            self._age, self._way = 0, 0.0
        return stands[self._contact]

    def _walk(
        self, pose: np.ndarray, here: np.ndarray, target: np.ndarray, rotation: np.ndarray
    ) -> np.ndarray:
        """Go to a place without touching the brick: straight if clear, else around it."""
        path = here + np.linspace(0, 1, 12)[:, None] * (target - here)
        gaps = np.array([_gap(point, self._sides) for point in path])
        if (gaps[1:] > min(gaps[0] - 1e-4, self.HAND + self.CLEAR)).all():
            self._way = 0.0
            return self._towards(here, target) @ rotation.T
        sweep = float(wrap(np.arctan2(target[1], target[0]) - np.arctan2(here[1], here[0])))
        self._way = self._way or self._prefer or float(np.sign(sweep)) or 1.0
        radius = float(np.linalg.norm(self._sides)) + self.HAND + 0.01
        away = float(np.linalg.norm(here))
        heading = np.arctan2(here[1], here[0]) + self._way * (0.1 if away < radius - 0.02 else 0.5)
        onward = radius * np.array([np.cos(heading), np.sin(heading)])
        world = pose[2:4] + rotation @ onward
        if ((world < LOW[:2] - 0.01) | (world > HIGH[:2] + 0.01)).any():
            self._way = -self._way  # the hand's box ends there
        return self._towards(here, onward) @ rotation.T


class JacoPushWeak(_JacoPolicy):
    """To places around the brick, one after the other and through it: contact by chance."""

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Hand speed ``[2]`` as a fraction of the most."""
        assert self.goal is not None
        self._steps += 1
        if self._steps > 25 or np.linalg.norm(self.goal[:2] - pose[:2]) < 0.01:
            self.goal = self._draw_goal()
            self.goal[:2] = pose[2:4] + self.rng.uniform(-0.1, 0.1, 2)
        return self._towards(pose[:2], self.goal[:2])


def _outline(sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a rectangle's sides ``[M, 2]`` about 1 cm apart, and the normals into it."""
    points, normals = [], []
    for axis in (0, 1):
        reach = sides[1 - axis] - 0.008
        for place in np.linspace(-reach, reach, round(2 * reach / 0.01) + 1):
            for sign in (-1.0, 1.0):
                point, normal = np.zeros(2), np.zeros(2)
                point[axis], point[1 - axis], normal[axis] = sign * sides[axis], place, -sign
                points.append(point)
                normals.append(normal)
    return np.array(points), np.array(normals)


def _nearest(here: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Point of a rectangle next to a place outside, and the normal into it; 0 at a corner."""
    beyond = np.abs(here) - sides
    axis = int(beyond.argmax())
    point, normal = np.clip(here, -sides, sides), np.zeros(2)
    if beyond[1 - axis] < -0.003:
        normal[axis] = -np.sign(here[axis])
    return point, normal


def _gap(point: np.ndarray, sides: np.ndarray) -> float:
    """Signed distance [m] of a point to a rectangle."""
    beyond = np.abs(point) - sides
    return float(np.linalg.norm(np.maximum(beyond, 0)) + min(beyond.max(), 0.0))
