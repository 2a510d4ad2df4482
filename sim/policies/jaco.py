"""Scripted behaviours of jaco_reach and jaco_push."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.policies.base import Policy
from sim.tasks.base import wrap
from sim.tasks.jaco import GYRATION, HIGH, LOW, STEP, Jaco

TEMPOS = (0.5, 1.0)  # range of the tempo at which data are made
HOME, TURNED = 0.012, 0.15  # from the goal at which a brick is there [m, rad]
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
    (Lynch, Maekawa, Tanie 1992) with radius ρ. It sticks while f lies in the cone of friction.
    """

    SIDES = np.array([0.045, 0.025])  # half length and width of the brick [m]
    # Outline of the closed fingers at the height of the brick's upper edges [m].
    FINGERS = 1e-3 * np.array(
        [(-25, 11), (-25, -11), (-21, -32), (3, -28), (29, -20), (27, 2), (3, 28), (-21, 32)]
    )
    NEAR, CLEAR = 0.010, 0.004  # gaps before a push, and on a walk [m]
    ROUND = 0.090  # radius of the way around the brick [m]
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
        self._hope, self._pushing, self._home = 0.0, False, False
        self._travel, self._prefer, self._ties = 3.0, 0.0, 0.03

    def vary(self, rng: np.random.Generator) -> None:
        """Tempo, price of walking [1/m], way round the brick, chance in the choice of contact."""
        self._tempo = float(rng.choice([1.0, 1.0, 0.8, 0.6]))
        self._travel = float(rng.choice([1.0, 2.0, 3.0, 5.0]))
        self._prefer = float(rng.choice([0.0, 0.0, 1.0, -1.0]))
        self._ties = float(rng.choice([0.02, 0.05, 0.15]))

    def action(self, pose: np.ndarray) -> np.ndarray:
        """Hand speed ``[2]`` as a fraction of the most."""
        assert self.goal is not None
        self._steps += 1
        turn = float(wrap(self.goal[4] - pose[4]))
        missing = self.goal[2:4] - pose[2:4]
        loose = 1.4 if self._home else 1.0
        home = np.linalg.norm(missing) < HOME * loose and abs(turn) < TURNED * loose
        if not self._keep and (home or self._steps > PATIENCE):
            self.goal, self._contact = self._draw_goal(), -1
            return np.zeros(2)
        c, s = np.cos(pose[4]), np.sin(pose[4])
        rotation = np.array([[c, -s], [s, c]])  # all that follows is in the brick's own frame
        here = (pose[:2] - pose[2:4]) @ rotation
        self._home = bool(home)
        if home:
            return self._walk(pose, here, (self.goal[:2] - pose[2:4]) @ rotation, rotation)
        wanted = np.append(missing @ rotation, GYRATION * turn)
        self._age += 1
        push = self._push(here, wanted, rotation)
        if push is not None:
            return self._tempo * (rotation @ push)
        return self._walk(pose, here, self._stand(pose, here, wanted, rotation), rotation)

    def milestones(self, poses: np.ndarray) -> list[int]:
        """Hand at the brick, brick half way, brick there.

        Args:
            poses: ``[T+1, K]``, see :class:`sim.demonstrations.ShowsMilestones`.
        """
        assert self.goal is not None
        missing = np.linalg.norm(poses[:, 2:4] - self.goal[2:4], axis=1)
        turn = np.abs(wrap(poses[:, 4] - self.goal[4]))
        there = (missing < HOME) & (turn < TURNED)
        if not there.any():
            return []
        done = int(there.argmax())
        moved = np.linalg.norm(poses[:, 2:4] - poses[0, 2:4], axis=1) > 0.002
        if not moved[:done].any():
            return [done]
        left = missing + GYRATION * turn
        half = np.flatnonzero(left[:done] <= left[0] / 2)[:1].tolist()
        return sorted([max(int(moved.argmax()) - 1, 0), *half, done])

    def _tip(self, normal: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Where the fingers touch a side, from the hand's centre ``[2]``."""
        return self.FINGERS[(self.FINGERS @ (rotation @ normal)).argmax()] @ rotation

    def _push(
        self, here: np.ndarray, wanted: np.ndarray, rotation: np.ndarray
    ) -> np.ndarray | None:
        """How to go on where the hand is at a side ``[2]``; None where it had better walk."""
        beyond = np.abs(here) - self._sides
        axis = int(beyond.argmax())
        normal = np.zeros(2)
        normal[axis] = -np.sign(here[axis])
        point = here + self._tip(normal, rotation)
        gap = -normal[axis] * point[axis] - self._sides[axis]
        beside = abs(point[1 - axis]) > self._sides[1 - axis] + 0.002
        point[axis] = -normal[axis] * self._sides[axis]
        gain, heading = self._best(point[None], normal[None], wanted)
        if beside or gap > self.NEAR + 0.004 or gain[0] < min(0.5, self._hope) or self._age > 60:
            if self._pushing or self._age > 60:
                self._contact = -1
            return None
        self._pushing = True
        if gap > 0.002:
            return normal * min(1.0, (gap + 0.003) / STEP)
        return heading[0] * min(1.0, (float(np.linalg.norm(wanted)) + 0.003) / STEP)

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
        tips = np.stack([self._tip(normal, rotation) for normal in self._normals])
        stands = self._points - self._normals * self.NEAR - tips
        if self._contact < 0:
            gain, _ = self._best(self._points, self._normals, wanted)
            outside = _outside(pose[2:4] + stands @ rotation.T)
            chance = self._ties * self.rng.standard_normal(len(gain))
            walk = self._travel * np.linalg.norm(stands - here, axis=1)
            self._contact = int((gain - walk + chance - outside).argmax())
            self._hope = 0.7 * float(gain[self._contact])
            self._age, self._way, self._pushing = 0, 0.0, False
        return stands[self._contact]

    def _gaps(self, places: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Least gaps [m] between fingers at places ``[M, 2]`` and brick: separating directions."""
        away = _ray(np.arange(0, 2 * np.pi, np.pi / 12))
        tips = (self.FINGERS @ rotation @ -away.T).max(0)
        return np.asarray((places @ away.T - np.abs(away) @ self._sides - tips).max(1))

    def _walk(
        self, pose: np.ndarray, here: np.ndarray, target: np.ndarray, rotation: np.ndarray
    ) -> np.ndarray:
        """Go to a place without touching the brick: straight if clear, else around it."""
        gaps = self._gaps(here + np.linspace(0, 1, 12)[:, None] * (target - here), rotation)
        if (gaps[1:] > min(gaps[0] - 1e-4, self.CLEAR)).all():
            self._way = 0.0
            return self._towards(here, target) @ rotation.T
        start, end = (float(np.arctan2(place[1], place[0])) for place in (here, target))
        if not self._way:
            sweep = float(wrap(np.array(end - start)))
            first = self._prefer or float(np.sign(sweep)) or 1.0
            ways = [np.mod(way * sweep, 2 * np.pi) * way for way in (first, -first)]
            arcs = [start + np.linspace(0.2, 1, 12) * way for way in ways]
            over = [_outside(pose[2:4] + self.ROUND * _ray(arc) @ rotation.T).sum() for arc in arcs]
            self._way = first if over[0] <= over[1] else -first
        inside = float(np.linalg.norm(here)) < self.ROUND - 0.02
        onward = self.ROUND * _ray(np.array(start + self._way * (0.1 if inside else 0.3)))
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


def _ray(angle: np.ndarray) -> np.ndarray:
    """Unit vectors ``[..., 2]`` of angles [rad]."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _outside(places: np.ndarray) -> np.ndarray:
    """Which places ``[M, 2]`` the hand cannot reach."""
    return np.asarray(((places < LOW[:2]) | (places > HIGH[:2])).any(-1))
