"""Agents that see the physics: the reference rows every learned model is compared with.

``@oracle`` is the ordinary planner over :class:`TrueSimulator`; the expert row is a scripted
behaviour. Both read the full physics state where other agents find their proprioception:
:class:`Privileged` puts it there for a whole scene, :class:`Informed` for one agent (the evaluator
hands it the state in rows that declare ``inputs: state``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import mujoco
import numpy as np
from mujoco.rollout import Rollout

from robot_wm.contracts import Agent, EnvSpec, History, ModelSpec, WorldModel, check_actions
from robot_wm.errors import ConfigError, InputError
from sim.behaviours import make_behaviour
from sim.env import STATE, GoalEnv
from sim.tasks import TASKS

BLOCK = 5  # control steps in one model step


class Privileged:
    """A scene whose ``obs["proprio"]`` is the full physics state, float64 ``[S]``.

    For reference rows only. Everything else is the scene's own.
    """

    def __init__(self, env: GoalEnv) -> None:
        self.env = env
        size = mujoco.mj_stateSize(env.model, STATE)
        self.spec: EnvSpec = replace(cast(EnvSpec, env.spec), proprio_dim=size)

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet while being copied
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """As the scene does."""
        obs, info = self.env.reset(seed=seed, options=options)
        return {**obs, "proprio": info["state"].copy()}, info

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """As the scene does."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return {**obs, "proprio": info["state"].copy()}, reward, terminated, truncated, info


class TrueSimulator:
    """The world model that is never wrong: MuJoCo itself, with a privileged cost.

    Implements :class:`robot_wm.contracts.WorldModel`. A latent state is the physics state found in
    the last row of ``history.proprio``; the cost of a step is ``task.distance`` of its pose.

    Args:
        task: registry name.
        image_size: side of the images it is shown and ignores [px].
        factors: of the scene it imagines; :meth:`set_factors` changes them.
        threads: rollout threads; 0 uses the calling thread. Does not change a cost.
        horizon: blocks, for ``spec`` only.

    Raises:
        ConfigError: an unknown task or factor.
    """

    def __init__(
        self,
        task: str,
        image_size: int = 64,
        factors: Mapping[str, Any] | None = None,
        threads: int = 0,
        horizon: int = 5,
    ) -> None:
        if task not in TASKS:
            raise ConfigError(f"unknown task {task!r}", str(sorted(TASKS)), "name one of these")
        self.task, self._image_size = TASKS[task](), image_size
        self._rollout, self._threads = Rollout(nthread=threads), max(1, threads)
        self.factors: dict[str, Any] | None = None
        self.set_factors(factors or {})
        steps = self.task.ctrl_rows * self.task.hold_steps
        row = 8 * (self._sizes[0] + self._model.nu)
        self.spec = ModelSpec(
            task=task,
            action_low=(-1.0,) * 2 * BLOCK,
            action_high=(1.0,) * 2 * BLOCK,
            control_dim=2,
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
                "use the scene through sim.oracle.Privileged or the agent through Informed",
            )
        return state

    def rollout(self, state: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Poses after every control step, ``[N, T, K]``, of control actions ``[N, T, 2]``.

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
        poses = np.empty((n, steps, len(task.pose_names)))
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
        """Positions and speeds in full physics states: time, qpos, qvel (no scene has more)."""
        return states[:, 1 : 1 + self._model.nq], states[:, 1 + self._model.nq :]

    def step_costs(self, state: np.ndarray, goal: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Distance to the goal's pose at the end of each block, float32 ``[N, H]``."""
        check_actions(actions, self.spec)
        n, horizon, _ = actions.shape
        poses = self.rollout(state, actions.reshape(n, horizon * BLOCK, 2))[:, BLOCK - 1 :: BLOCK]
        return self.task.distance(poses, self.pose(goal)).astype(np.float32)

    def propose(
        self, state: np.ndarray, goal: np.ndarray, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """What the scripted expert would do, ``[n, H, A]``; noise grows from none to 0.3.

        Sampling rarely finds the way around an object to its far side; the expert knows it.
        """
        plans = np.empty((n, self.spec.horizon * BLOCK, 2), np.float32)
        for plan, noise in zip(plans, np.linspace(0, 0.3, n), strict=True):
            expert = make_behaviour(self.task.name, "expert", float(noise))
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


class ExpertAgent:
    """A scripted behaviour led to one goal (implements ``contracts.Agent``).

    Reads poses from the physics state in ``obs["proprio"]``, as :class:`TrueSimulator` does.

    Raises:
        ConfigError: no such behaviour for this task.
    """

    def __init__(self, task: str, behaviour: str = "expert", noise: float = 0.0) -> None:
        self._behaviour = make_behaviour(task, behaviour, noise)
        self._simulator = TrueSimulator(task)

    def set_factors(self, factors: Mapping[str, Any]) -> None:
        """The scene's factors, which the behaviour may use (where the door is)."""
        self._simulator.set_factors(factors)

    def _pose(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        no_actions = np.zeros((0, self._simulator.spec.action_dim), np.float32)
        history = History(obs["image"][None], obs["proprio"][None], no_actions)
        return self._simulator.pose(self._simulator.encode(history))

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """Start an episode."""
        self._behaviour.reset(
            np.random.default_rng(seed), goal=self._pose(goal), factors=self._simulator.factors
        )

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action, float32 ``[2]``."""
        return self._behaviour.act(self._pose(obs))


class Informed:
    """Shows an agent the physics state as its proprioception, when the evaluator lets it watch.

    Args:
        agent: any agent, e.g. an MPC agent over a :class:`TrueSimulator`.
        parts: objects with ``set_factors``, told the factors of the scene before every episode.
    """

    def __init__(self, agent: Agent, *parts: Any) -> None:
        self.agent, self._parts = agent, parts

    def __getattr__(self, name: str) -> Any:
        if name == "agent":  # not there yet while being copied
            raise AttributeError(name)
        return getattr(self.agent, name)

    def watch(self, info: dict[str, Any], goal_info: dict[str, Any]) -> None:
        """Remember the state of the scene as it is now, and as it is at the goal."""
        self._state, self._goal = np.array(info["state"]), np.array(goal_info["state"])
        for part in self._parts:
            part.set_factors(info["factors"])

    def reset(self, goal: dict[str, np.ndarray], seed: int) -> None:
        """Start an episode towards the state watched."""
        self.agent.reset({**goal, "proprio": self._goal}, seed)

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action from the state watched."""
        return self.agent.act({**obs, "proprio": self._state})


def oracle_agent(
    spec: EnvSpec,
    planner: Callable[[WorldModel[np.ndarray]], Agent],
    threads: int = 0,
    horizon: int = 5,
) -> Informed:
    """The planner on the true simulator, ready for an evaluator's ``inputs: state`` row."""
    simulator = TrueSimulator(spec.task, spec.image_size, threads=threads, horizon=horizon)
    return Informed(planner(simulator), simulator)


def expert_agent(spec: EnvSpec, behaviour: str = "expert") -> Informed:
    """The scripted expert, ready for an evaluator's ``inputs: state`` row."""
    expert = ExpertAgent(spec.task, behaviour)
    return Informed(expert, expert)
