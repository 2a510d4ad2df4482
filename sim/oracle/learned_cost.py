"""The true simulator judged as a learned model judges: what is left when prediction is never wrong.

A failed episode has one of three reasons. If the goal is reached once every candidate is simulated
truly, the prediction was wrong; if it is then reached only by a privileged cost, the learned cost
was; otherwise the search, its proposals included. See ``robot-wm report``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import Agent, EnvSpec, History, Proposer, WorldModel, check_actions
from robot_wm.core.symmetry import Mirror
from sim.env import GoalEnv
from sim.oracle.agents import PrivilegedObservation

Symmetrize = Callable[[WorldModel[Any], Mirror | None], WorldModel[Any]]


@dataclass(frozen=True)
class LearnedCostState:
    """Where the scene is, and what the learned model makes of it.

    Attributes:
        physics: full physics state ``[S]``; pose: ``[K]`` of it.
        seen: the history without proprioception.
        learned: the learned model's own state of that history.
    """

    physics: np.ndarray
    pose: np.ndarray
    seen: History
    learned: Any


class LearnedCostSimulator:
    """True dynamics, learned cost (implements ``contracts.WorldModel`` and ``Proposer``).

    Every candidate is simulated and rendered; the cost of a step is what the learned model says of
    the frame that truly comes: its cost of standing still there for a block. The physics state is
    expected as the last row of ``history.proprio``, see
    :class:`sim.oracle.agents.PrivilegedObservation`. For diagnosis only: a candidate takes tens of
    milliseconds.

    Args:
        model: the learned one; only its contract is used.
        privileged: cost by the task's own distance instead, the rest unchanged.
    """

    def __init__(self, model: WorldModel[Any], privileged: bool = False) -> None:
        self.model, self.spec, self.privileged = model, model.spec, privileged
        self._env, self._factors = GoalEnv(model.spec.task, model.spec.image_size), dict[str, Any]()
        bounds = self.spec.action_low, self.spec.action_high
        self._stay = np.clip(np.zeros((1, 1, self.spec.action_dim)), *bounds).astype(np.float32)

    def set_factors(self, factors: Mapping[str, Any]) -> None:
        """Imagine the scene under these factors from now on."""
        self._factors = dict(factors)

    def encode(self, history: History) -> LearnedCostState:
        """The scene's state of the last frame, and the learned model's of them all."""
        physics = np.asarray(history.proprio[-1], np.float64)
        self._env.draw_images = False
        _, info = self._restore(physics)
        blind = np.zeros((len(history.frames), 0), np.float32)
        seen = History(history.frames, blind, history.actions)
        return LearnedCostState(physics, info["pose"], seen, self.model.encode(seen))

    def _restore(self, physics: np.ndarray) -> Any:
        return self._env.reset(options={"state": physics, "factors": self._factors})

    def step_costs(
        self, state: LearnedCostState, goal: LearnedCostState, actions: np.ndarray
    ) -> np.ndarray:
        """Cost of the frame that truly comes after every block, float32 ``[N, H]``."""
        check_actions(actions, self.spec)
        return np.array([self._costs(state, goal, plan) for plan in actions], np.float32)

    def _costs(
        self, state: LearnedCostState, goal: LearnedCostState, plan: np.ndarray
    ) -> list[float]:
        env, seen, costs = self._env, state.seen, []
        self._restore(state.physics)
        for block in plan:
            controls = block.reshape(-1, self.spec.control_dim)
            for k, action in enumerate(controls, start=1):
                env.draw_images = k == len(controls) and not self.privileged
                obs, *_, info = env.step(action)
            if self.privileged:
                costs.append(float(env.task.distance(info["pose"], goal.pose)))
                continue
            seen = self._later(seen, obs["image"], block)
            learned = self.model.encode(seen)
            costs.append(float(self.model.step_costs(learned, goal.learned, self._stay)[0, 0]))
        return costs

    def _later(self, seen: History, image: np.ndarray, block: np.ndarray) -> History:
        """The history one frame on, as long as the model's context."""
        context = self.spec.context
        frames = np.concatenate([seen.frames, image[None]])[-context:]
        blocks = np.concatenate([seen.actions, np.asarray(block, np.float32)[None]])
        blocks = blocks[len(blocks) - (len(frames) - 1) :]
        return History(frames, np.zeros((len(frames), 0), np.float32), blocks)

    def propose(
        self, state: LearnedCostState, goal: LearnedCostState, n: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The learned model's own proposals.

        Raises:
            ConfigError: it makes none.
        """
        if not isinstance(self.model, Proposer):
            raise ConfigError(
                f"proposals of {type(self.model).__name__}", "a model with `propose`",
                "set its planner's proposals to 0",
            )  # fmt: skip
        return np.asarray(self.model.propose(state.learned, goal.learned, n, rng))


def learned_cost_agent(
    spec: EnvSpec,
    model: WorldModel[Any],
    planner: Callable[[WorldModel[Any]], Agent],
    privileged: bool = False,
    symmetrize: Symmetrize | None = None,
) -> PrivilegedObservation:
    """The planner on the judged simulator, ready for an evaluator's ``inputs: state`` row.

    Args:
        symmetrize: makes the learned model judge in the scene's mirror image, too.
    """
    judge = symmetrize(model, spec.mirror) if symmetrize else model
    simulator = LearnedCostSimulator(judge, privileged)
    return PrivilegedObservation(planner(simulator), simulator)
