"""A ball falls onto a ridge, slides off it left or right by chance, lands and rests. 25 Hz.

That it will land can be foretold, on which side cannot: of a falling leaf that is all one can say.
Which side is a pseudo-random function of the exact state in which the ball arrives, so that no
picture before shows it and a restored state falls as it did the first time. Actions drive a marker
at the top, which has nothing to do with the ball.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.criteria import Criterion
from robot_wm.core.poses import PoseEntry
from sim.randomization import Factor, colors
from sim.tasks.base import (
    SCENES,
    Confinement,
    Predicate,
    Task,
    color_geoms,
    met,
    shared_factors,
)
from sim.tasks.two_room_kicked import lots

VIEW = 0.512  # width of the picture [m]
FLOOR, RADIUS = 0.03, 0.035  # top of the floor, of the ball [m]
HALF, HEIGHT = 0.07, 0.1  # half the ridge's foot, its height [m], as in the scene
TOP = FLOOR + HEIGHT + RADIUS  # of the ball's centre, on the edge [m]
DROPS, RIDGES, MARKS = (0.35, 0.44), (0.2, 0.312), (0.06, 0.452)  # of the start, in x or z [m]
SPEED = 0.4  # of the marker, per unit action [m/s]
GATE = 0.04  # above the edge, where chance decides [m]; the ball falls less in a control step
KICK, STILL = 0.12, 1e-3  # sideways speed that it gets; that it has before, at most [m/s]
MASS, DT = 0.1, 0.04  # of the ball [kg]; a control step [s]
TOUCH = 2e-3  # [m]: solid bodies sink into each other by less


def _gap(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.abs(poses[..., 0] - goal[..., 0])


MARKED = (Criterion("marker", "m", 0.02, _gap),)


def _official(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return met(MARKED, poses[1:], goal)


@dataclass(frozen=True)
class Facts:
    """What is the case in poses ``[...]``; labels for probes, never seen by a model.

    Attributes:
        landed: whether the ball touches the floor.
        touching: whether it touches floor or ridge.
        right: whether it is to the right of the ridge's edge.
        height: of its centre above where it is on the floor [m].
        offset: of its centre from the edge, to the right [m].
    """

    landed: np.ndarray
    touching: np.ndarray
    right: np.ndarray
    height: np.ndarray
    offset: np.ndarray


def facts(poses: np.ndarray) -> Facts:
    """Of poses ``[..., K]``."""
    _, x, z, ridge = np.moveaxis(np.asarray(poses, np.float64), -1, 0)
    offset, height = x - ridge, z - FLOOR - RADIUS
    landed = height < TOUCH
    # Nearest point of the slope, from the edge (0, HEIGHT) down to the foot (HALF, 0).
    across, up = np.abs(offset), height + RADIUS
    along = np.clip((across * HALF + (HEIGHT - up) * HEIGHT) / (HALF**2 + HEIGHT**2), 0, 1)
    gap = np.hypot(across - along * HALF, up - (1 - along) * HEIGHT) - RADIUS
    return Facts(landed, landed | (gap < TOUCH), offset > 0, height, offset)


def joined(found: Sequence[Facts], first: int) -> Facts:
    """Facts ``[N, T - first]`` of ``N`` clips from a frame on."""
    names = [item.name for item in fields(Facts)]
    return Facts(*(np.stack([getattr(each, name)[first:] for each in found]) for name in names))


class Ridge(Task):
    """See the module's docstring."""

    name = "ridge"
    scene = SCENES / "ridge.xml"
    camera = "side"
    view = VIEW
    control_dim = 1
    full_command = (f"{SPEED:g} m/s of the marker along x",)
    control_dt = DT
    hold_steps = 20
    pose_entries = tuple(
        PoseEntry(name, "m", "position") for name in ("marker_x", "ball_x", "ball_z", "ridge_x")
    )
    robot = (0,)
    extent = (0.0, VIEW)
    proprio_dim = 2
    confinement = Confinement((0,), (0,), *MARKS, reach=SPEED * DT)
    factors: ClassVar[Mapping[str, Factor]] = {
        "ball_color": colors((0.1, 0.3, 0.75), "red", "yellow", "green"),
        "ridge_color": colors((0.55, 0.35, 0.2), "blue", "magenta", "green"),
        "wall_color": colors((1.0, 1.0, 1.0), "red", "blue", "black"),
        **shared_factors(),
    }
    predicates: ClassVar[Mapping[str, Predicate]] = {"official": _official}
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {"official": MARKED}

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Colours, light and camera."""
        super().vary(spec, factors)
        for name in ("ball", "ridge", "wall"):
            if f"{name}_color" in factors:
                color_geoms(spec, (name,), factors[f"{name}_color"])

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """The marker's velocity [m/s] and a gust that pushes the ball sideways [N].

        There is one in the first of a plan where the ball has come to the edge and nothing has
        pushed it yet; the later ones follow from states that nobody knows yet.
        """
        commands = np.concatenate([SPEED * gain * actions, np.zeros_like(actions)], axis=-1)
        straight = (np.abs(qvel[:, 2]) < STILL) & (np.abs(qpos[:, 2] - qpos[:, 1]) < STILL)
        arrived = straight & (np.abs(qpos[:, 3] - TOP) < GATE)
        side = np.where(lots(np.concatenate([qpos, qvel], axis=-1))[:, 0] < 0.5, -1.0, 1.0)
        commands[:, 0, 1] = np.where(arrived, side * MASS * KICK / DT, 0.0)
        return commands

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Marker's x, ball's x and z, ridge's x [m]."""
        return np.asarray(qpos)[..., [0, 2, 3, 1]].copy()

    def proprio(self, data: mujoco.MjData) -> np.ndarray:
        """Place and speed of the marker alone."""
        return np.array([data.qpos[0], data.qvel[0]], np.float32)

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """The ball's centre."""
        x, z = poses[..., 1:2], poses[..., 2:3]
        return {"ball": np.concatenate([x, np.zeros_like(x), z], -1)}

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Somewhere a ridge, above its edge a ball, at rest, and somewhere the marker."""
        ridge = rng.uniform(*RIDGES)
        data.qpos[:] = rng.uniform(*MARKS), ridge, ridge, rng.uniform(*DROPS)

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Of the marker from its goal [m]; nothing else obeys."""
        return _gap(np.asarray(poses), np.asarray(goal))
