"""Run a chosen pair again with the agent's notes kept: what it saw, imagined, weighed and chose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import run_episode
from planning.evaluation.goal_pairs import Pair, PairList
from planning.evaluation.results import EpisodeResult
from robot_wm.core.protocols import Agent, Environment, History

FAN = 60  # candidates drawn per plan
GRID = 15  # cells along one side of the energy landscape


@runtime_checkable
class Imagination(Protocol):
    """Optional ability of a world model: show what it imagines as frames it once saw."""

    def nearest_frames(self, state: Any, actions: np.ndarray) -> np.ndarray:
        """Training frames nearest to the imagined latents, uint8 ``[H, height, width, 3]``.

        Args:
            state: a result of ``encode``.
            actions: float32 ``[H, A]``.
        """
        ...


@runtime_checkable
class Measured(Protocol):
    """Optional ability of a scene: the privileged distance to a goal, for pictures only."""

    def distance(self, poses: np.ndarray, goal_pose: np.ndarray) -> np.ndarray:
        """Distance of every pose ``[T, K]`` to ``goal_pose [K]``, float ``[T]``."""
        ...


@dataclass(frozen=True)
class PlanView:
    """One plan, reduced to what is drawn. ``S = H * block`` control steps, ``C`` control_dim.

    Attributes:
        step: control step at which it was made.
        energy: the model's cost one imagined step ahead when standing still: how far from the
            goal it believes to be.
        step_costs: predicted costs along the plan ``[H]``.
        paths, costs: cumulative actions ``[M, S, C]`` and costs ``[M]`` of some candidates.
        chosen: cumulative actions of the plan ``[S, C]``.
        landscape: cost of the whole plan with its first block shifted to a mean action on a grid
            over the bounds of the first two action entries ``[G, G]``; None below two entries.
        first_mean: mean control action of the first block ``[C]``.
        low, high: bounds of a control action ``[C]``.
        imagined: see :class:`Imagination`; None if the model cannot.
    """

    step: int
    energy: float
    step_costs: np.ndarray
    paths: np.ndarray
    costs: np.ndarray
    chosen: np.ndarray
    landscape: np.ndarray | None
    first_mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    imagined: np.ndarray | None


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode, ready to be drawn.

    Attributes:
        family: the predicate that decides ``success``.
        goal: uint8 ``[size, size, 3]``; frames: the same for every control step, start included.
        dt: seconds between two frames [s]; block: control steps per model step.
        distance: privileged distance to the goal at every frame; None if the scene has none.
        why: why the goal was missed, in words; empty where nobody asked.
    """

    pair: Pair
    method: str
    family: str
    result: EpisodeResult
    goal: np.ndarray
    frames: list[np.ndarray]
    dt: float
    block: int
    distance: np.ndarray | None
    plans: list[PlanView] = field(default_factory=list)
    why: str = ""

    @property
    def hit(self) -> int | None:
        """Control steps until success, None if it failed."""
        return self.result.first_hit(self.family)


def grid_actions(actions: np.ndarray, control_dim: int, low: np.ndarray, high: np.ndarray) -> Any:
    """The plan with its first block's mean moved over a grid, the rest fixed.

    Args:
        actions: ``[H, A]``; low, high: bounds of a control action ``[C]``, ``C >= 2``.

    Returns:
        float32 ``[G * G, H, A]``, first grid axis along action entry 0.
    """
    block = actions[0].reshape(-1, control_dim)
    axes = [np.linspace(low[c], high[c], GRID) for c in range(2)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 1, 2)
    first = np.repeat(block[None], len(points), 0)
    first[:, :, :2] += points - block[:, :2].mean(0)
    plans = np.repeat(actions[None], len(points), 0)
    # Clipping keeps the request legal; near the bounds a block's own shape is flattened.
    plans[:, 0] = np.clip(first, low, high).reshape(len(points), -1)
    return plans.astype(np.float32)


def view_plan(agent: Any, record: Any, goal: Any) -> PlanView:
    """Reduce an agent's ``PlanRecord`` to a picture's worth of numbers.

    Args:
        agent: has ``model`` (a WorldModel) and, if it weighs costs its own way, ``objective``.
        record: has ``step, state, actions, candidates, candidate_costs, step_costs``.
        goal: the model's own state of the goal.
    """
    model, spec = agent.model, agent.model.spec
    dim, actions = spec.control_dim, np.asarray(record.actions, np.float32)
    low = np.asarray(spec.action_low, np.float32)[:dim]
    high = np.asarray(spec.action_high, np.float32)[:dim]
    stay = np.clip(np.zeros((1, 1, spec.action_dim)), spec.action_low, spec.action_high)
    landscape = None
    if dim >= 2:
        plans = grid_actions(actions, dim, low, high)
        steps = model.step_costs(record.state, goal, plans)
        total = agent.objective(steps, plans) if hasattr(agent, "objective") else steps[:, -1]
        landscape = np.asarray(total, np.float64).reshape(GRID, GRID)
    order = np.argsort(record.candidate_costs, kind="stable")
    some = order[np.unique(np.linspace(0, len(order) - 1, FAN).round().astype(int))]
    paths = np.asarray(record.candidates)[some].reshape(len(some), -1, dim).cumsum(1)
    imagined = None
    if isinstance(model, Imagination):
        imagined = model.nearest_frames(record.state, actions)
    return PlanView(
        step=record.step,
        energy=float(model.step_costs(record.state, goal, stay.astype(np.float32))[0, 0]),
        step_costs=np.asarray(record.step_costs),
        paths=paths,
        costs=np.asarray(record.candidate_costs)[some],
        chosen=actions.reshape(-1, dim).cumsum(0),
        landscape=landscape,
        first_mean=actions[0].reshape(-1, dim).mean(0),
        low=low,
        high=high,
        imagined=imagined,
    )


def record_episode(
    config: EvaluateConfig, pairs: PairList, index: int, env: Environment, agent: Agent
) -> EpisodeRecord:
    """Run pair ``index`` exactly as the evaluator does, keeping frames and plans.

    An agent without ``records`` (random, scripted) gives an episode without plans.
    """
    if hasattr(agent, "record"):
        agent.record = True
    frames: list[np.ndarray] = []
    poses: list[np.ndarray] = []

    def watch(step: int, obs: dict[str, np.ndarray], pose: np.ndarray) -> None:
        frames.append(np.array(obs["image"]))
        poses.append(pose)

    result = run_episode(config, pairs, index, env, agent, watch)
    pair = pairs.pairs[index]
    options = {"state": np.asarray(pair.goal_state), "factors": {**pair.factors, **config.factors}}
    goal_obs, goal_info = env.reset(options=options)
    records, views, block = getattr(agent, "records", []), [], 1
    if records:
        model: Any = agent.model  # type: ignore[attr-defined]
        proprio = goal_obs["proprio"] if config.inputs != "pixels" else np.zeros(0, np.float32)
        no_actions = np.zeros((0, model.spec.action_dim), np.float32)
        goal = model.encode(History(goal_obs["image"][None], proprio[None], no_actions))
        views, block = [view_plan(agent, record, goal) for record in records], model.spec.block
    distance = None
    if isinstance(env, Measured):
        distance = np.asarray(env.distance(np.stack(poses), np.asarray(goal_info["pose"])))
    return EpisodeRecord(
        pair=pair,
        method=config.method,
        family=(config.families or (pairs.family,))[0],
        result=result,
        goal=np.array(goal_obs["image"]),
        frames=frames,
        dt=env.spec.control_dt,
        block=block,
        distance=distance,
        plans=views,
    )
