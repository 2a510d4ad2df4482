"""A Gymnasium environment over a task: exact restore, named variations, pixels, proprioception."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Annotated, Any

import gymnasium
import mujoco
import numpy as np

from robot_wm.core.config import Natural, convert, unknown
from robot_wm.core.criteria import Criterion
from robot_wm.core.errors import ConfigError, InputError
from robot_wm.core.images import Sides, Size, sides, size_of
from robot_wm.core.protocols import EnvSpec
from sim.captions import said_alike
from sim.projection import project
from sim.randomization import check_values, draw
from sim.rendering import Renderer
from sim.tasks import TASKS

ImageSize = Annotated[Size, Sides(1, 4096)]  # [px]
STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class GoalEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """One task in MuJoCo. Implements :class:`robot_wm.core.protocols.Environment`.

    Args:
        task: a name in :data:`sim.tasks.TASKS`.
        image_size: of ``obs["image"]`` [px], a number or (height, width).
        draw_images: False returns black images and needs no OpenGL (collection between frames).
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  (Gymnasium's own declaration)
    render_mode = "rgb_array"
    spec: EnvSpec  # type: ignore[assignment]  # Gymnasium keeps its registry entry here

    def __init__(self, task: str, image_size: Size = 64, draw_images: bool = True) -> None:
        if not isinstance(task, str) or task not in TASKS:
            raise unknown("task", str(task), TASKS)
        shape = sides(convert(ImageSize, image_size, "image_size"))
        draw_images = convert(bool, draw_images, "draw_images")
        self.task = TASKS[task]()
        self.task.check()
        self.predicates = {**self.task.predicates, **said_alike(self.task)}
        mirror = self.task.mirror
        self.spec = EnvSpec(
            task=task,
            control_low=(-1.0,) * self.task.control_dim,
            control_high=(1.0,) * self.task.control_dim,
            control_dt=self.task.control_dt,
            image_size=size_of(*shape),
            proprio_dim=self.task.proprio_dim,
            pose=self.task.pose_entries,
            families=tuple(self.predicates),
            mirror=mirror if mirror and mirror.fits(*shape) else None,
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.task.control_dim,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
            image=gymnasium.spaces.Box(0, 255, (*shape, 3), np.uint8),
            proprio=gymnasium.spaces.Box(-np.inf, np.inf, (self.task.proprio_dim,), np.float32),
        )
        self._shape, self.draw_images = shape, draw_images
        self._renderer: Renderer | None = None
        self._waiting: deque[np.ndarray] = deque()  # actions not executed yet
        self.factors: dict[str, Any] = {}
        self._build({})

    def _build(self, factors: Mapping[str, Any]) -> None:
        self.factors = dict(factors)
        self.model = self.task.compile(self.factors)
        self.data = mujoco.MjData(self.model)
        if self._renderer is not None and not self._renderer.fits(self.model):
            self._renderer.close()
            self._renderer = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode.

        Options:
            state: full physics state to restore, float64 ``[S]``.
            factors: exact factor values; missing ones are nominal.
            variation: names of factors to draw from their training ranges (``["all"]``: every).
            rest: True zeroes all velocities after a restore.

        Raises:
            ConfigError: an unknown option or factor.
            InputError: a state of the wrong size.
        """
        super().reset(seed=None if seed is None else convert(Natural, seed, "seed"))
        options = convert(dict[str, Any], options or {}, "options")
        unknown = set(options) - {"state", "factors", "variation", "rest"}
        if unknown:
            raise ConfigError(f"reset options {sorted(unknown)}", "state, factors, variation, rest",
                              "correct the spelling")  # fmt: skip
        factor_values = convert(dict[str, Any], options.get("factors") or {}, "factors")
        factors = check_values(self.task.factors, factor_values)
        named = convert(list[str], options.get("variation") or [], "variation")
        rest = convert(bool, options.get("rest", False), "rest")
        factors.update(draw(self.task.factors, named, self.np_random))
        if factors != self.factors:
            self._build(factors)
        mujoco.mj_resetData(self.model, self.data)
        if "state" in options:
            self._restore(options["state"])
            if rest:
                self.data.qvel[:] = 0
        else:
            self.task.sample_initial_state(self.data, self.np_random)
        mujoco.mj_forward(self.model, self.data)
        hold = np.zeros(self.task.control_dim)
        self._waiting = deque([hold] * self.factors.get("latency", 0))
        return self._observe(), self._info()

    def _restore(self, given: Any) -> None:
        size, state = mujoco.mj_stateSize(self.model, STATE), _numbers(given)
        if state.shape != (size,) or not np.isfinite(state).all():
            raise InputError(
                f"a state of shape {state.shape}", f"[{size}] finite", "use info['state']"
            )
        mujoco.mj_setState(self.model, self.data, state, STATE)

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One control step; actions are clipped to [-1, 1]. Reward is 0, nothing terminates.

        Raises:
            InputError: an action of the wrong shape or not finite.
        """
        given, action = action, _numbers(action)
        if action.shape != (dim := self.task.control_dim,) or not np.isfinite(action).all():
            raise InputError(
                f"action {given!r}", f"{dim} finite numbers in [-1, 1]", "check the plan"
            )
        self._waiting.append(action)
        self._advance(self._waiting.popleft())
        return self._observe(), 0.0, False, False, self._info()

    def _advance(self, action: np.ndarray) -> None:
        commands = self.task.controls(
            self.data.qpos[None], self.data.qvel[None], np.clip(action, -1, 1)[None, None],
            self.factors.get("gain", 1.0),
        )  # fmt: skip
        for row in commands[0]:
            self.data.ctrl[:] = row
            mujoco.mj_step(self.model, self.data, self.task.hold_steps)

    def _observe(self) -> dict[str, np.ndarray]:
        proprio = self.task.proprio(self.data)[: self.task.proprio_dim]
        return {"image": self.render(), "proprio": proprio}

    def _info(self) -> dict[str, Any]:
        pose = self.task.pose(self.data.qpos, self.data.qvel)
        return {"state": self.state(), "pose": pose, "factors": dict(self.factors)}

    def state(self) -> np.ndarray:
        """Full physics state, float64 ``[S]``, as ``reset`` takes it back."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE))
        mujoco.mj_getState(self.model, self.data, state, STATE)
        return state

    def render(self) -> np.ndarray:
        """Image of the current state, uint8 ``[height, width, 3]``."""
        if not self.draw_images:
            return np.zeros((*self._shape, 3), np.uint8)
        if self._renderer is None:
            fast = self.factors.get("render", "light") == "light"
            self._renderer = Renderer(self.model, self._shape, fast, self.task.camera)
        # A physics step leaves the picture's positions one step behind the state.
        self.task.animate(self.model, self.data.time)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        return self._renderer.render(self.model, self.data)

    def success(self, family: str, poses: np.ndarray, goal_pose: np.ndarray) -> np.ndarray:
        """Which control steps satisfy the predicate, bool ``[T]`` (see the contract).

        Raises:
            ConfigError: an unknown family.
        """
        if family not in self.predicates:
            raise ConfigError(f"family {family!r}", str(list(self.predicates)), "name one")
        return self.predicates[family](np.asarray(poses), np.asarray(goal_pose))

    def distance(self, poses: np.ndarray, goal_pose: np.ndarray) -> np.ndarray:
        """Privileged distance to the goal, for scoring and pictures."""
        return self.task.distance(np.asarray(poses), np.asarray(goal_pose))

    def criteria(self, family: str) -> tuple[Criterion, ...]:
        """What a predicate measures; nothing for a family whose task does not say it."""
        return self.task.criteria.get(family, ())

    def foresee(self, state: np.ndarray, actions: np.ndarray) -> dict[str, np.ndarray]:
        """Where in the picture things truly go, for reports; leaves the scene somewhere else.

        Args:
            state: full physics state ``[S]`` to begin at, under the present factors.
            actions: control actions ``[N, T, A]`` of ``N`` plans.

        Returns:
            By the task's landmark, the robot's own first, ``[N, T+1, 2]`` as fractions of the
            picture's width and height, from its upper left corner.
        """
        poses = []
        for plan in np.asarray(actions, np.float64):
            mujoco.mj_resetData(self.model, self.data)
            self._restore(state)
            mujoco.mj_forward(self.model, self.data)
            path = [self.task.pose(self.data.qpos, self.data.qvel)]
            for action in plan:
                self._advance(action)
                path.append(self.task.pose(self.data.qpos, self.data.qvel))
            poses.append(path)
        return self.paths(np.array(poses))

    def paths(self, poses: np.ndarray) -> dict[str, np.ndarray]:
        """Where in the picture things are in poses ``[..., K]``, under the present factors.

        Returns:
            By the task's landmark, the robot's own first, ``[..., 2]`` as :meth:`foresee` says.
        """
        points, aspect = self.task.landmarks(poses), self._shape[1] / self._shape[0]
        return {
            name: project(self.model, self.data, self.task.camera, place, aspect)
            for name, place in points.items()
        }

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _numbers(given: Any) -> np.ndarray:
    """As float64; what is no array of numbers becomes one NaN."""
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)


def make(task: str, image_size: Size = 64, draw_images: bool = True) -> GoalEnv:
    """Build the environment of a task."""
    return GoalEnv(task, image_size, draw_images)
