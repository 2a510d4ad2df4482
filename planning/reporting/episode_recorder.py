"""Run a chosen pair again with the agent's notes kept: what it saw, imagined, weighed and chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from planning.agent.protocols import KeepsRecords
from planning.evaluation.config import EvaluateConfig
from planning.evaluation.evaluator import observation, run_episode
from planning.evaluation.goal_pairs import PairList, pose_change
from planning.reporting.records import EpisodeRecord, Measurement, PlanView
from robot_wm.core.criteria import Criterion
from robot_wm.core.protocols import Agent, Environment, EnvSpec, History, WorldModel

FAN = 24  # candidates drawn per plan
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
    """Optional ability of a scene: say what its predicates measure, for pictures only."""

    def criteria(self, family: str) -> tuple[Criterion, ...]:
        """What the predicate of ``family`` measures."""
        ...


@runtime_checkable
class Pictured(Protocol):
    """Optional ability of a scene: tell where things would truly go, for pictures only."""

    def foresee(self, state: np.ndarray, actions: np.ndarray) -> Mapping[str, np.ndarray]:
        """Places in the picture by name, the robot's own first.

        Args:
            state: full physics state ``[S]`` to begin at, under the factors of the last reset.
            actions: control actions ``[N, T, C]``.

        Returns:
            ``[N, T+1, 2]`` each, as fractions of width and height from the upper left corner.
        """
        ...


class Tape:
    """A scene that keeps what went in and came out since its last reset.

    Attributes:
        seen: observation and info at every control step, the start included.
        actions: control actions ``[C]``, one fewer.
    """

    def __init__(self, env: Environment) -> None:
        self.env, self.spec = env, env.spec
        self.seen: list[tuple[dict[str, np.ndarray], dict[str, Any]]] = []
        self.actions: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet while being copied
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """As the scene does; what was kept is forgotten."""
        first = self.env.reset(seed=seed, options=options)
        self.seen, self.actions = [first], []
        return first

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """As the scene does."""
        outcome = self.env.step(action)
        self.seen.append((outcome[0], outcome[-1]))
        self.actions.append(np.array(action))
        return outcome

    def history(self, step: int, spec: Any, inputs: str) -> History:
        """What an agent that looked at control step ``step`` would know."""
        steps = list(range(step % spec.block, step + 1, spec.block))[-spec.context :]
        looks = [observation(self.seen[t][0], inputs) for t in steps]
        blocks = [np.concatenate(self.actions[t : t + spec.block]) for t in steps[:-1]]
        return History(
            np.stack([look["image"] for look in looks]),
            np.stack([look["proprio"] for look in looks]),
            np.asarray(blocks, np.float32).reshape(-1, spec.action_dim),
        )


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


def still(spec: Any) -> np.ndarray:
    """The plan of one block that does nothing, float32 ``[1, 1, A]``."""
    return np.clip(
        np.zeros((1, 1, spec.action_dim)), spec.action_low, spec.action_high
    ).astype(np.float32)  # fmt: skip


def energies(model: WorldModel[Any], tape: Tape, goal: Any, inputs: str) -> np.ndarray:
    """The model's cost of standing still, at every frame of an episode ``[T+1]``."""
    stay = still(model.spec)
    return np.array(
        [
            model.step_costs(model.encode(tape.history(t, model.spec, inputs)), goal, stay)[0, 0]
            for t in range(len(tape.seen))
        ],
        np.float64,
    )


def view_plan(
    agent: Any,
    record: Any,
    goal: Any,
    foresee: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None,
) -> PlanView:
    """Reduce an agent's ``PlanRecord`` to a picture's worth of numbers.

    Args:
        agent: has ``model`` (a WorldModel) and, if it weighs costs its own way, ``objective``.
        record: has ``step, state, actions, candidates, candidate_costs, step_costs``.
        goal: the model's own state of the goal.
        foresee: where control actions ``[N, S, C]`` would lead in the picture from that step.
    """
    model, spec = agent.model, agent.model.spec
    dim, actions = spec.control_dim, np.asarray(record.actions, np.float32)
    low = np.asarray(spec.action_low, np.float32)[:dim]
    high = np.asarray(spec.action_high, np.float32)[:dim]
    landscape = None
    if dim >= 2:
        plans = grid_actions(actions, dim, low, high)
        steps = model.step_costs(record.state, goal, plans)
        total = agent.objective(steps, plans) if hasattr(agent, "objective") else steps[:, -1]
        landscape = np.asarray(total, np.float64).reshape(GRID, GRID)
    order = np.argsort(record.candidate_costs, kind="stable")
    some = order[np.unique(np.linspace(0, len(order) - 1, FAN).round().astype(int))]
    shown = np.concatenate([actions[None], np.asarray(record.candidates)[some]])
    paths = foresee(shown.reshape(len(shown), -1, dim)) if foresee is not None else {}
    imagined = None
    if isinstance(model, Imagination):
        imagined = model.nearest_frames(record.state, actions)
    return PlanView(
        step=record.step,
        step_costs=np.asarray(record.step_costs),
        costs=np.asarray(record.candidate_costs)[some],
        candidates=next((path[1:] for path in paths.values()), None),
        chosen={name: path[0] for name, path in paths.items()},
        landscape=landscape,
        first_mean=actions[0].reshape(-1, dim).mean(0),
        low=low,
        high=high,
        imagined=imagined,
    )


def measure(
    env: Environment, spec: EnvSpec, family: str, poses: np.ndarray, goal: np.ndarray
) -> tuple[Measurement, ...]:
    """Errors along poses ``[T+1, K]``: of the predicate's criteria, else of every pose entry."""
    criteria = env.criteria(family) if isinstance(env, Measured) else ()
    if criteria:
        return tuple(Measurement(c.name, c.unit, c.limit, c.error(poses, goal)) for c in criteria)
    changes = [pose_change(spec.pose, pose, goal) for pose in poses]
    return tuple(
        Measurement(
            entry.name, entry.unit, None, np.array([change[entry.label] for change in changes])
        )
        for entry in spec.pose
    )


def record_episode(
    config: EvaluateConfig,
    pairs: PairList,
    index: int,
    env: Environment,
    agent: Agent,
    large: Environment | None = None,
) -> EpisodeRecord:
    """Run pair ``index`` exactly as the evaluator does, keeping frames and plans.

    An agent without ``records`` (random, scripted) gives an episode without plans.

    Args:
        large: the same scene with larger images, which draws start, goal and end for people.
    """
    if isinstance(agent, KeepsRecords):
        agent.record = True
    tape, pair = Tape(env), pairs.pairs[index]
    result = run_episode(config, pairs, index, tape, agent)
    factors = {**pair.factors, **config.factors}
    goal_obs, goal_info = env.reset(
        options={"state": np.asarray(pair.goal_state), "factors": factors}
    )
    states = [np.asarray(info["state"]) for _, info in tape.seen]
    poses = np.stack([np.asarray(info["pose"], np.float64) for _, info in tape.seen])
    family = (config.families or (pairs.family,))[0]
    stills = [np.array(obs["image"]) for obs in (tape.seen[0][0], goal_obs, tape.seen[-1][0])]
    if large is not None:
        ends = (states[0], np.asarray(goal_info["state"]), states[-1])
        restores = [{"state": state, "factors": factors} for state in ends]
        stills = [np.array(large.reset(options=options)[0]["image"]) for options in restores]
    trails: Mapping[str, np.ndarray] = {}
    if isinstance(env, Pictured) and tape.actions:
        found = env.foresee(states[0], np.stack(tape.actions)[None])
        trails = {name: path[0] for name, path in found.items()}
    energy, views, block = _judged(config, env, agent, tape, goal_obs)
    return EpisodeRecord(
        pair=pair,
        method=config.method,
        family=family,
        result=result,
        frames=[np.array(obs["image"]) for obs, _ in tape.seen],
        start=stills[0],
        goal=stills[1],
        end=stills[2],
        dt=env.spec.control_dt,
        block=block,
        measured=measure(env, env.spec, family, poses, np.asarray(goal_info["pose"])),
        energy=energy,
        trails=trails,
        plans=views,
    )


def _judged(
    config: EvaluateConfig, env: Environment, agent: Any, tape: Tape, goal_obs: Mapping[str, Any]
) -> tuple[np.ndarray | None, list[PlanView], int]:
    """Energy, plans and control steps per block of an agent that kept records."""
    records = agent.records if isinstance(agent, KeepsRecords) else []
    if not records:
        return None, [], 1
    model: WorldModel[Any] = agent.model
    look = observation(goal_obs, config.inputs)
    no_actions = np.zeros((0, model.spec.action_dim), np.float32)
    goal = model.encode(History(look["image"][None], look["proprio"][None], no_actions))
    views = []
    for record in records:
        foresee = None
        if isinstance(env, Pictured):
            foresee = partial(env.foresee, np.asarray(tape.seen[record.step][1]["state"]))
        views.append(view_plan(agent, record, goal, foresee))
    return energies(model, tape, goal, config.inputs), views, model.spec.block
