"""Agents that may see the simulator: the expert, and the planner on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import mujoco
import numpy as np

from robot_wm.core.protocols import Agent, EnvSpec, History, WorldModel
from sim.env import STATE, GoalEnv
from sim.oracle.simulator import BLOCK, TrueSimulator
from sim.policies.registry import make_policy


class PrivilegedEnv:
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


class ExpertAgent:
    """A scripted behaviour led to one goal (implements ``contracts.Agent``).

    Reads poses from the physics state in ``obs["proprio"]``, as :class:`TrueSimulator` does.

    Raises:
        ConfigError: no such behaviour for this task.
    """

    def __init__(self, task: str, policy: str = "expert", noise: float = 0.0) -> None:
        self._policy = make_policy(task, policy, noise)
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
        self._policy.reset(
            np.random.default_rng(seed), goal=self._pose(goal), factors=self._simulator.factors
        )

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Next control action, float32 ``[control_dim]``."""
        return self._policy.act(self._pose(obs))


class PrivilegedObservation:
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
    block: int = BLOCK,
) -> PrivilegedObservation:
    """The planner on the true simulator, ready for an evaluator's ``inputs: state`` row."""
    simulator = TrueSimulator(
        spec.task, spec.image_size, threads=threads, horizon=horizon, block=block
    )
    return PrivilegedObservation(planner(simulator), simulator)


def expert_agent(spec: EnvSpec, policy: str = "expert") -> PrivilegedObservation:
    """The scripted expert, ready for an evaluator's ``inputs: state`` row."""
    expert = ExpertAgent(spec.task, policy)
    return PrivilegedObservation(expert, expert)
