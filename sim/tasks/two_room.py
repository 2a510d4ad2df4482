"""TwoRoom: drive a disc through the only door of a dividing wall. 10 Hz, 0.5 m/s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.criteria import Criterion
from robot_wm.core.poses import PoseEntry
from sim.randomization import Choice, Factor, Interval, colors
from sim.tasks.abilities import Published
from sim.tasks.base import (
    SCENES,
    Predicate,
    Task,
    color_geoms,
    hold,
    met,
    on_plane,
    shared_factors,
)
from sim.tasks.scenery import animate_scenery, apply_scenery, scenery_factors

VIEW = 2.24  # width of the picture [m]
FLOOR = -0.15  # height of what lies about [m]
SPEED = 0.5  # [m/s] per unit action
RADIUS = 0.07  # [m]
WALL_X, WALL_HALF = 1.12, 0.05  # [m]
DOOR_Y, DOOR_HALF = 1.75, 0.14  # [m]
INNER = (0.21, 2.03)  # range of the disc's centre [m]


def _gap(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses - goal, axis=-1)


OFFICIAL = (Criterion("position", "m", 0.16, _gap),)
STRICT = (Criterion("position", "m", 0.08, _gap),)


def _official(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return met(OFFICIAL, poses[1:], goal)


def _strict(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Within 80 mm, on the goal's side, after at least one crossing of the door.

    Walls are solid here, so every recorded route is legal.
    """
    side = np.sign(poses[:, 0] - WALL_X)
    crossed = np.maximum.accumulate(np.abs(np.diff(side, prepend=side[0])) > 0)[1:]
    near = met(STRICT, poses[1:], goal)
    return hold(near & crossed & (side[1:] == np.sign(goal[0] - WALL_X)), 1)


class TwoRoom(Task):
    """See the module's docstring."""

    name = "two_room"
    scene = SCENES / "two_room.xml"
    camera = "top"
    control_dim = 2
    full_command = tuple(f"{SPEED:g} m/s along {axis}" for axis in "xy")
    control_dt = 0.1
    hold_steps = 50
    pose_entries = (PoseEntry("agent_x", "m", "position"), PoseEntry("agent_y", "m", "position"))
    robot = (0, 1)
    extent = (0.0, VIEW)
    proprio_dim = 4
    view = VIEW
    factors: ClassVar[Mapping[str, Factor]] = {
        "agent_color": colors((1.0, 0.0, 0.0), "blue", "green", "black"),
        "canvas_color": colors((1.0, 1.0, 1.0), "red", "blue", "black"),
        "agent_size": Interval(1.0, 0.8, 1.2, (4 / 7, 10 / 7, 12 / 7), "size"),
        "door_y": Interval(DOOR_Y, 1.44, 1.84, (0.84, 0.44), "shape"),
        **shared_factors(),
        # White, black and pure red saturate: a brighter level would change nothing.
        "light": Interval(1.0, 0.8, 1.2, (0.4, 0.6)),
        "gain": Interval(1.0, 0.9, 1.1, (0.35, 0.7, 1.3, 2.1), "motion"),
        **scenery_factors(),
        "layout": Choice("one_door", ("one_door",), ("two_doors", "horizontal"), "shape"),
    }
    predicates: ClassVar[Mapping[str, Predicate]] = {
        "official": _official,
        "long": _official,
        "moderate": _official,
        "strict": _strict,
    }
    criteria: ClassVar[Mapping[str, tuple[Criterion, ...]]] = {
        "official": OFFICIAL,
        "long": OFFICIAL,
        "moderate": OFFICIAL,
        "strict": STRICT,
    }
    policies: ClassVar[Mapping[str, str]] = {
        "expert": "sim.policies.two_room:TwoRoomExpert",
        "noisy": "sim.policies.two_room:TwoRoomNoisy",
    }
    published = Published(solved=(8.82, 2.44), random=(26.0, 6.7, 1.7), oracle=99.0)

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Colours, disc size and walls: the door's place (its centre y [m]) and the layout.

        Of two doors the other one is the first's mirror image; a horizontal wall is the vertical
        one, turned about the middle.
        """
        super().vary(spec, factors)
        white = factors.get("canvas_color", self.factors["canvas_color"].nominal)
        apply_scenery(spec, self.camera, VIEW, np.full(2, WALL_X), FLOOR, white, "plain", factors)
        if "agent_color" in factors:
            color_geoms(spec, ("agent",), factors["agent_color"])
        if "canvas_color" in factors:
            color_geoms(spec, ("canvas",), factors["canvas_color"])
        scale = factors.get("agent_size", 1.0)
        for name, radius in (("agent_body", RADIUS), ("agent", 0.1)):
            spec.geom(name).size = [radius * scale, spec.geom(name).size[1], 0]
        door, layout = factors.get("door_y", DOOR_Y), factors.get("layout", "one_door")
        doors = sorted({door, 2 * WALL_X - door} if layout == "two_doors" else {door})
        if len(doors) == 2:
            spec.worldbody.add_geom(spec.find_default("wall"), name="wall_between")
        names = ("wall_below", *["wall_between"] * (len(doors) - 1), "wall_above")
        lows = (0.1, *(y + DOOR_HALF for y in doors))
        highs = (*(y - DOOR_HALF for y in doors), 2.12)
        turn = -1 if layout == "horizontal" else 1
        for name, low, high in zip(names, lows, highs, strict=True):
            geom = spec.geom(name)
            geom.pos = [*(WALL_X, (low + high) / 2)[::turn], 0.0]
            geom.size = [*(WALL_HALF, (high - low) / 2)[::turn], 0.1]

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Velocity commands [m/s]."""
        return SPEED * gain * actions

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Disc centre (x, y) [m]."""
        return qpos.copy()

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """The disc's centre."""
        return {"disc": on_plane(poses)}

    def animate(self, model: mujoco.MjModel, time: float) -> None:
        """Clutter that moves."""
        animate_scenery(model, VIEW, WALL_X, time)

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """See :class:`~sim.tasks.abilities.Posable`: the pose is that of the joints."""
        data.qpos[:] = pose[: len(data.qpos)]
        data.qvel[:] = 0

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Uniform in both rooms, clear of the wall."""
        while True:
            p = rng.uniform(*INNER, 2)
            if abs(p[0] - WALL_X) > WALL_HALF + RADIUS + 0.005:
                data.qpos[:] = p
                return

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Length of the shortest route [m], through the middle of the door between rooms."""
        side, goal_side = np.sign(poses[..., 0] - WALL_X), np.sign(goal[0] - WALL_X)
        gap = WALL_HALF + RADIUS
        clear = DOOR_HALF - RADIUS
        near = np.stack(
            [WALL_X + side * gap, np.clip(poses[..., 1], DOOR_Y - clear, DOOR_Y + clear)], -1
        )
        far = np.array([WALL_X + goal_side * gap, DOOR_Y])
        inside = np.abs(poses[..., 0] - WALL_X) < gap
        first = np.where(inside, 0.0, np.linalg.norm(poses - near, axis=-1))
        here = np.where(inside[..., None], poses, near)
        around = first + np.linalg.norm(here - far, axis=-1) + np.linalg.norm(far - goal)
        return np.where(side == goal_side, np.linalg.norm(poses - goal, axis=-1), around)

    def eligible(self, poses: np.ndarray, family: str) -> bool:
        """Cross-room pairs only."""
        return bool((poses[0, 0] - WALL_X) * (poses[-1, 0] - WALL_X) < 0)
