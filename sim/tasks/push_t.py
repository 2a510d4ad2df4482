"""Push-T: push a T-shaped block with a disc. Geometry and predicates of the reference scene.

Control at 10 Hz. An action in [-1, 1]² sets a target 0.1 m · a away from the pusher; the pusher
follows it as a critically damped second-order system (10 rad/s, 10 ms steps), whatever it pushes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import mujoco
import numpy as np

from robot_wm.core.criteria import Criterion
from robot_wm.core.poses import PoseEntry
from robot_wm.core.symmetry import Mirror
from sim.randomization import Choice, Factor, Interval, colors
from sim.tasks.abilities import Published
from sim.tasks.base import (
    SCENES,
    Confinement,
    Predicate,
    Task,
    color_geoms,
    hold,
    met,
    on_plane,
    shared_factors,
    wrap,
)
from sim.tasks.scenery import animate_scenery, apply_scenery, scenery_factors

ORIGIN_OFFSET = 0.045  # centre of gravity -> reported origin, along the block's +y [m]
VIEW = 0.512  # width of the picture [m]
REACH = 0.1  # target distance of a full command [m]
LONG = 0.060  # from start to goal of a long pair [m]
FLOOR = -0.02  # height of what lies about [m]
MARGIN = 0.025  # of the targets that data-making behaviours choose [m]
STIFFNESS, DAMPING, REFERENCE_DT = 100.0, 20.0, 0.01  # [1/s²], [1/s], [s]

# (centre y, half width, half height) of two boxes per shape, x-symmetric unless given, in the
# block frame [m]. Every shape keeps the T's mass and inertia, so only geometry changes.
SHAPES: dict[str, tuple[tuple[float, float, float, float], tuple[float, float, float, float]]] = {
    "T": ((0.0, 0.030, 0.060, 0.015), (0.0, -0.030, 0.015, 0.045)),
    "L": ((0.0225, -0.060, 0.0375, 0.015), (0.0, 0.0, 0.015, 0.060)),
    "Z": ((-0.0225, 0.015, 0.0375, 0.015), (0.0225, -0.015, 0.0375, 0.015)),
    "square": ((0.0, 0.0, 0.040, 0.040), (0.0, 0.0, 0.040, 0.040)),
    "small_tee": ((0.0, 0.020, 0.060, 0.015), (0.0, -0.025, 0.015, 0.030)),
    "plus": ((0.0, 0.0, 0.060, 0.015), (0.0, 0.0, 0.015, 0.060)),
}


def _both(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., :4] - goal[:4], axis=-1)


def _block(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., 2:4] - goal[2:4], axis=-1)


def _turn(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return np.abs(wrap(poses[..., 4] - goal[4]))


OFFICIAL = (
    Criterion("pusher and block position", "m", 0.020, _both),
    Criterion("block angle", "rad", np.pi / 9, _turn),
)
PUSHED = (Criterion("block position", "m", 0.020, _block), OFFICIAL[1])
STRICT = (
    Criterion("block position", "m", 0.010, _block),
    Criterion("block angle", "rad", np.deg2rad(10), _turn),
)


def _official(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return met(OFFICIAL, poses[1:], goal)


def _strict(poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
    return hold(met(STRICT, poses[1:], goal), 3)


def _shape_pusher(spec: mujoco.MjSpec, shape: str, radius: float) -> None:
    """Give the pusher a shape within a square of twice the radius [m]."""
    pusher, kinds, third = spec.geom("pusher"), mujoco.mjtGeom, radius / 3
    pusher.type, pusher.size = {
        "disc": (kinds.mjGEOM_CYLINDER, [radius, 0.01, 0]),
        "box": (kinds.mjGEOM_BOX, [radius, radius, 0.01]),
        "ellipsoid": (kinds.mjGEOM_ELLIPSOID, [radius, radius / 2, 0.01]),
        "L": (kinds.mjGEOM_BOX, [third, radius, 0.01]),
        "plus": (kinds.mjGEOM_BOX, [third, radius, 0.01]),
    }[shape]
    if shape in ("L", "plus"):
        x, y = (third - radius, third - radius) if shape == "L" else (0.0, 0.0)
        pusher.pos = [x, 0, 0]
        spec.body("pusher").add_geom(
            name="pusher_arm", type=kinds.mjGEOM_BOX, size=[radius, third, 0.01], pos=[0, y, 0],
            contype=1, conaffinity=0, rgba=pusher.rgba,
        )  # fmt: skip


class PushT(Task):
    """See the module's docstring."""

    name = "push_t"
    scene = SCENES / "push_t.xml"
    camera = "top"
    control_dim = 2
    full_command = tuple(f"a target {REACH:g} m away along {axis}" for axis in "xy")
    control_dt = 0.1
    ctrl_rows = 10
    hold_steps = 5
    pose_entries = (
        PoseEntry("pusher_x", "m", "position"),
        PoseEntry("pusher_y", "m", "position"),
        PoseEntry("block_x", "m", "position"),
        PoseEntry("block_y", "m", "position"),
        PoseEntry("block_angle", "rad", "angle"),
        PoseEntry("pusher_vx", "m/s", "velocity"),
        PoseEntry("pusher_vy", "m/s", "velocity"),
    )
    robot = (0, 1)
    extent = (0.0, VIEW)
    proprio_dim = 4
    view = VIEW
    # The diagonal x = y, the axis of the static mark. Opposite walls differ by 1 mm.
    mirror = Mirror("antitranspose", (1, 0), (1.0, 1.0))
    # Nothing else stops the pusher: walls hold the T only. The margin covers the 15 mm that one
    # at full speed overshoots.
    confinement = Confinement((3, 4), (0, 1), MARGIN, VIEW - MARGIN, REACH)
    factors: ClassVar[Mapping[str, Factor]] = {
        "agent_color": colors((0.255, 0.412, 0.882), "red", "yellow", "black"),
        "block_color": colors((0.467, 0.533, 0.600), "red", "blue"),
        "canvas_color": colors((1.0, 1.0, 1.0), "red", "blue", "black"),
        "goal_zone_color": colors((0.565, 0.933, 0.565), "red", "blue", "black"),
        "agent_size": Interval(1.0, 0.8, 1.2, (0.5, 1.5), "size"),
        "block_size": Interval(1.0, 0.9, 1.1, (2 / 3, 2.0), "size"),
        "agent_shape": Choice("disc", ("disc", "box"), ("ellipsoid", "L", "plus"), "shape"),
        "block_shape": Choice("T", ("T", "L", "Z", "square"), ("small_tee", "plus"), "shape"),
        "mass": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        "friction": Interval(1.0, 0.8, 1.25, (0.5, 2.0), "motion"),
        **shared_factors(),
        **scenery_factors(),
        "contact_friction": Interval(0.0, 0.0, 0.1, (0.4, 0.8), "motion"),
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
        "expert": "sim.policies.push_t:PushTExpert",
        "weak": "sim.policies.push_t:PushTWeak",
    }
    published = Published(solved=(0.22, 22.96), random=(4.0, 4.0, 5.0), oracle=95.0)

    def vary(self, spec: mujoco.MjSpec, factors: Mapping[str, Any]) -> None:
        """Colours, sizes and shapes; ``mass`` and ``friction`` scale mass and slide damping.

        ``contact_friction`` is the coefficient between pusher, block and walls.
        """
        super().vary(spec, factors)
        white = factors.get("canvas_color", self.factors["canvas_color"].nominal)
        apply_scenery(spec, self.camera, VIEW, np.full(2, VIEW / 2), FLOOR, white, "plain", factors)
        for factor, geoms in (
            ("agent_color", ("pusher",)),
            ("block_color", ("bar", "stem")),
            ("canvas_color", ("canvas",)),
            ("goal_zone_color", ("zone_bar", "zone_stem")),
        ):
            if factor in factors:
                color_geoms(spec, geoms, factors[factor])
        scale = factors.get("block_size", 1.0)
        shape = SHAPES[factors.get("block_shape", "T")]
        for name, (x, y, half_x, half_y) in zip(("bar", "stem"), shape, strict=True):
            geom = spec.geom(name)
            geom.pos = np.array([x, y, 0.0]) * [scale, scale, 1]
            geom.size = np.array([half_x * scale, half_y * scale, 0.01])
        _shape_pusher(
            spec, factors.get("agent_shape", "disc"), 0.015 * factors.get("agent_size", 1.0)
        )
        if sliding := factors.get("contact_friction", 0.0):
            for geom in spec.geoms:
                geom.condim, geom.friction = 3, [sliding, 0, 0]
        block, mass = spec.body("block"), factors.get("mass", 1.0)
        block.mass, block.inertia = block.mass * mass, block.inertia * mass
        for name in ("block_x", "block_y", "block_yaw"):
            joint = spec.joint(name)
            joint.damping = joint.damping * factors.get("friction", 1.0)

    def controls(
        self, qpos: np.ndarray, qvel: np.ndarray, actions: np.ndarray, gain: float = 1.0
    ) -> np.ndarray:
        """Velocity commands of the reference system: 10 rows of 10 ms per control step [m/s]."""
        p, v = qpos[:, 3:5].copy(), qvel[:, 3:5].copy()
        n, steps, _ = actions.shape
        out = np.empty((n, steps * self.ctrl_rows, 2))
        for t in range(steps):
            target = p + REACH * gain * actions[:, t]
            for row in range(self.ctrl_rows):
                v = v + REFERENCE_DT * (STIFFNESS * (target - p) - DAMPING * v)
                p = p + REFERENCE_DT * v
                out[:, t * self.ctrl_rows + row] = v
        return out

    def pose(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """(pusher xy, block origin xy, block angle in [0, 2π), pusher velocity xy)."""
        angle = qpos[..., 2]
        origin = qpos[..., :2] + ORIGIN_OFFSET * np.stack([-np.sin(angle), np.cos(angle)], -1)
        angle = np.mod(angle, 2 * np.pi)[..., None]
        return np.concatenate([qpos[..., 3:5], origin, angle, qvel[..., 3:5]], -1)

    def landmarks(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """Pusher and block, both in the plane of the table."""
        return {"pusher": on_plane(poses[..., :2]), "block": on_plane(poses[..., 2:4])}

    def set_pose(self, data: mujoco.MjData, pose: np.ndarray) -> None:
        """See :class:`~sim.tasks.abilities.Posable`."""
        angle = pose[4]
        center = pose[2:4] - ORIGIN_OFFSET * np.array([-np.sin(angle), np.cos(angle)])
        data.qpos[:] = [*center, angle, *pose[:2]]
        data.qvel[:] = 0

    def animate(self, model: mujoco.MjModel, time: float) -> None:
        """Clutter that moves."""
        animate_scenery(model, VIEW, VIEW / 2, time)

    def proprio(self, data: mujoco.MjData) -> np.ndarray:
        """Position and velocity of the pusher [m, m/s]."""
        return np.concatenate([data.qpos[3:], data.qvel[3:]]).astype(np.float32)

    def reflect(self, data: mujoco.MjData) -> None:
        """Swap x and y; the block turns the other way."""
        swap = [1, 0, 2, 4, 3]
        data.qpos[:] = data.qpos[swap]
        data.qpos[2] = -np.pi / 2 - data.qpos[2]
        for rates in (data.qvel, data.qacc_warmstart):
            rates[:] = rates[swap]
            rates[2] = -rates[2]
        data.ctrl[:] = data.ctrl[::-1].copy()

    def sample_initial_state(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Pusher in 50–450 mm, block origin in 100–400 mm, any angle, not overlapping."""
        while True:
            angle = rng.uniform(0, 2 * np.pi)
            origin = rng.uniform(0.1, 0.4, 2)
            center = origin - ORIGIN_OFFSET * np.array([-np.sin(angle), np.cos(angle)])
            pusher = rng.uniform(0.05, 0.45, 2)
            if (
                np.linalg.norm(pusher - center) > 0.11
                and (center > 0.09).all()
                and (center < 0.42).all()
            ):
                data.qpos[:] = [*center, angle, *pusher]
                return

    def eligible(self, poses: np.ndarray, family: str) -> bool:
        """Long pairs are 60 mm apart or more, over both positions; zero-shot ones need a push.

        Starts and goals that a larger block leaves alone are mostly those where it is not touched.
        """
        if family == "zs":
            return not met(PUSHED, poses[-1:], poses[0])[0]
        apart = float(np.linalg.norm(poses[-1, :4] - poses[0, :4]))
        return family != "long" or apart >= LONG

    def distance(self, poses: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Block and pusher position [m] plus block angle times its gyration radius."""
        block = np.linalg.norm(poses[..., 2:4] - goal[2:4], axis=-1)
        pusher = np.linalg.norm(poses[..., :2] - goal[:2], axis=-1)
        return block + 0.0548 * np.abs(wrap(poses[..., 4] - goal[4])) + 0.3 * pusher
