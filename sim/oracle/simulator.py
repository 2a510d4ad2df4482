"""Agents that see the physics: the reference rows every learned model is compared with.

``@oracle`` is the ordinary planner over :class:`TrueSimulator`; the expert row is a scripted
behaviour. Both read the full physics state where other agents find their proprioception:
:class:`PrivilegedEnv` puts it there for a whole scene, :class:`PrivilegedObservation` for one agent
(the evaluator hands it the state in rows that declare ``inputs: state``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from robot_wm.core.config import unknown
from robot_wm.core.errors import InputError
from robot_wm.core.images import Size
from robot_wm.core.protocols import History, ModelSpec, check_actions
from sim.env import STATE, GoalEnv
from sim.policies.registry import make_policy
from sim.tasks import TASKS

BLOCK = 5  # control steps in one model step where nobody says otherwise


class TrueSimulator:
    """The world model that is never wrong: MuJoCo itself, with a privileged cost.

    Implements :class:`robot_wm.core.protocols.WorldModel`. A latent state is the physics state
    found in the last row of ``history.proprio``; the cost of a step is ``task.distance`` of its
    pose.

    Args:
        task: registry name.
        image_size: of the images it is shown and ignores [px].
        factors: of the scene it imagines; :meth:`set_factors` changes them.
        threads: rollout threads; 0 uses the calling thread. Does not change a cost.
        horizon: blocks, for ``spec`` only.
        block: control steps in one.

    Raises:
        ConfigError: an unknown task or factor.
    """

    def __init__(
        self,
        task: str,
        image_size: Size = 64,
        factors: Mapping[str, Any] | None = None,
        threads: int = 0,
        horizon: int = 5,
        block: int = BLOCK,
    ) -> None:
        if task not in TASKS:
            raise unknown("task", task, TASKS)
        self.task = TASKS[task]()
        self._rollout, self._threads = Rollout(nthread=threads), max(1, threads)
        self.factors: dict[str, Any] | None = None
        self.set_factors(factors or {})
        steps = self.task.ctrl_rows * self.task.hold_steps
        row = 8 * (self._sizes[0] + self._model.nu)
        self.spec = ModelSpec(
            task=task,
            action_low=(-1.0,) * self.task.control_dim * block,
            action_high=(1.0,) * self.task.control_dim * block,
            control_dim=self.task.control_dim,
            control_dt=self.task.control_dt,
            context=1,
            horizon=horizon,
            image_size=image_size,
            bytes_per_candidate=steps * row,
        )

    def set_factors(self, factors: Mapping[str, Any]) -> None:
        """Imagine the scene under these factors from now on.

        Raises:
            ConfigError: an unknown factor.
        """
        if self.factors == dict(factors):
            return
        self._env = GoalEnv(self.task.name, draw_images=False)
        self._env.reset(options={"factors": dict(factors)})
        self.factors, self._model = dict(factors), self._env.model
        self._gain = float(factors.get("gain", 1.0))
        self._data = [mujoco.MjData(self._model) for _ in range(self._threads)]
        kinds = mujoco.mjtState
        self._sizes = [
            mujoco.mj_stateSize(self._model, kind)
            for kind in (kinds.mjSTATE_FULLPHYSICS, kinds.mjSTATE_WARMSTART, STATE)
        ]

    def encode(self, history: History) -> np.ndarray:
        """Physics state ``[S]`` of the last frame, float64 if the history holds it so.

        Raises:
            InputError: the proprioception is not a physics state.
        """
        state = np.asarray(history.proprio[-1], np.float64)
        if state.shape != (self._sizes[2],):
            raise InputError(
                f"proprioception of size {state.size}",
                f"the physics state, size {self._sizes[2]}",
                "use the scene through sim.oracle.agents.PrivilegedEnv or the agent"
                " through PrivilegedObservation",
            )
        return state

    def rollout(self, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Poses after every control step, ``[N, T, K]``, of control actions ``[N, T, C]``.

        The contact solver starts cold in every control step after the first (a batched rollout
        does not hand its warm start back): free motion is the scene's to the last bit, motion in
        contact to the solver's tolerance, a fraction of a millimetre.
        """
        task, model, data = self.task, self._model, self._data[0]
        kinds = mujoco.mjtState
        mujoco.mj_setState(model, data, state, STATE)
        start, warm = (np.empty(size) for size in self._sizes[:2])
        mujoco.mj_getState(model, data, start, kinds.mjSTATE_FULLPHYSICS)
        mujoco.mj_getState(model, data, warm, kinds.mjSTATE_WARMSTART)
        actions = np.clip(np.asarray(actions, np.float64), -1, 1)
        n, steps, _ = actions.shape
        ends, warmth = np.tile(start, (n, 1)), np.tile(warm, (n, 1))
        poses = np.empty((n, steps, len(task.pose_entries)))
        for t in range(steps):  # commands follow from where contacts left the joints
            control = task.controls(*self._joints(ends), actions[:, t : t + 1], self._gain)
            states, _ = self._rollout.rollout(
                model, self._data, ends, np.repeat(control, task.hold_steps, axis=1),
                initial_warmstart=warmth,
            )  # fmt: skip
            ends, warmth = states[:, -1], np.zeros_like(warmth)
            poses[:, t] = task.pose(*self._joints(ends))
        return poses

    def _joints(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions and speeds in full physics states: time, qpos, qvel, and what else there is."""
        _, qpos, qvel, *_ = np.split(states, np.cumsum([1, self._model.nq, self._model.nv]), axis=1)
        return qpos, qvel

    def step_costs(self, state: np.ndarray, goal: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Distance to the goal's pose at the end of each block, float32 ``[N, H]``."""
        check_actions(actions, self.spec)
        n, horizon, _ = actions.shape
        block = self.spec.block
        controls = actions.reshape(n, horizon * block, self.spec.control_dim)
        poses = self.rollout(state, controls)[:, block - 1 :: block]
        return self.task.distance(poses, self.pose(goal)).astype(np.float32)

    def propose(
        self, state: np.ndarray, goal: np.ndarray, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """What the scripted expert would do, ``[n, H, A]``; noise grows from none to 0.3.

        Sampling rarely finds the way around an object to its far side; the expert knows it.
        """
        plans = np.empty(
            (n, self.spec.horizon * self.spec.block, self.spec.control_dim), np.float32
        )
        for plan, noise in zip(plans, np.linspace(0, 0.3, n), strict=True):
            expert = make_policy(self.task.name, "expert", float(noise))
            expert.reset(rng.spawn(1)[0], goal=self.pose(goal), factors=self.factors)
            _, info = self._env.reset(options={"state": state, "factors": self.factors})
            for t in range(len(plan)):
                plan[t] = expert.act(info["pose"])
                *_, info = self._env.step(plan[t])
        return plans.reshape(n, self.spec.horizon, -1)

    def pose(self, state: np.ndarray) -> np.ndarray:
        """Pose ``[K]`` of a physics state ``[S]``."""
        mujoco.mj_setState(self._model, self._data[0], state, STATE)
        return self.task.pose(self._data[0].qpos, self._data[0].qvel)
