"""The one evaluator: every number in ``results/`` was produced by this loop.

The evaluator owns success and termination; an agent sees ``{"image", "proprio"}`` and nothing
else. An episode is a pure function of (row, pair, evaluation seed), so neither the order of the
episodes nor the number of workers changes a result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from planning.agent.protocols import AgentDiagnostics, CountsEvents, innermost
from planning.evaluation.config import EvaluateConfig, MakeAgent, MakeEnv
from planning.evaluation.goal_pairs import Pair, PairList, pose_change
from planning.evaluation.overlays import overlay
from planning.evaluation.results import EpisodeResult, EvaluationResult, append_row, parse_row
from robot_wm.core.errors import ConfigError, DataError, InputError
from robot_wm.core.instantiate import is_deferred
from robot_wm.core.parallel import spread
from robot_wm.core.protocols import Agent, Environment, EnvSpec
from robot_wm.core.system.progress import progress

__all__ = [
    "EvaluateConfig", "EvaluationResult", "PrivilegedObserver", "append_row", "evaluate",
    "planner_seed",
    "run_episode",
]  # fmt: skip

OBSERVED = ("image", "proprio")


@runtime_checkable
class PrivilegedObserver(Protocol):
    """Reference agents (scripted expert, planner on the true simulator) that may see physics.

    Only rows declaring ``inputs="state"`` call it: before ``reset`` and before every ``act``.
    """

    def watch(self, info: dict[str, Any], goal_info: dict[str, Any]) -> None:
        """``info`` of the scene as it is now, and as it is at the goal."""
        ...


def planner_seed(row: str, pair_id: str, eval_seed: int) -> int:
    """Seed of one episode's planner, in [0, 2^63): depends on nothing but its three names."""
    digest = hashlib.sha256(f"{row}:{pair_id}:{eval_seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def observation(obs: Mapping[str, np.ndarray], inputs: str) -> dict[str, np.ndarray]:
    """What the agent may see. Rows of inputs ``pixels`` get an empty proprioception."""
    seen = {name: obs[name] for name in OBSERVED}
    if inputs == "pixels":
        seen["proprio"] = np.zeros(0, np.float32)
    return seen


def restore(
    env: Environment, config: EvaluateConfig, pair: Pair, end: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Put the scene at a pair's ``start`` or ``goal`` and check that it really is there."""
    others = {**config.factors, **config.by_pair.get(pair.pair_id, {})}
    rest = end == "start" and "rest" in parse_row(config.row).modifiers
    options: dict[str, Any] = {
        "state": np.asarray(getattr(pair, f"{end}_state"), np.float64),
        "factors": {**pair.factors, **others},
    }
    if rest:
        options["rest"] = True
    obs, info = env.reset(options=options)
    pose, wanted = np.asarray(info["pose"]), np.asarray(getattr(pair, f"{end}_pose"))
    same = pose.shape == wanted.shape
    if same and not (rest or others):
        same = bool(np.allclose(pose, wanted, rtol=0, atol=1e-6))
    if not same:
        raise DataError(
            f"the {end} of pair {pair.pair_id} restores to pose {np.round(pose, 6).tolist()}",
            f"the recorded pose {np.round(wanted, 6).tolist()}",
            "use the scene this pair list was made with, or make the list again",
        )
    return obs, info


def _checked_action(action: np.ndarray, spec: EnvSpec) -> tuple[np.ndarray, float]:
    """The action inside its bounds, and the fraction of its entries that was not."""
    action = np.asarray(action, np.float32)
    if action.shape != (spec.control_dim,) or not np.isfinite(action).all():
        raise InputError(
            f"the agent returned an action of shape {action.shape}: {action.tolist()}",
            f"{spec.control_dim} finite numbers",
            "return one control action per observation",
        )
    # Bounds in the action's own precision: an in-bounds float32 must never count as clipped.
    low, high = (np.asarray(b, np.float32) for b in (spec.control_low, spec.control_high))
    clipped = np.clip(action, low, high)
    return clipped, float((clipped != action).mean())


def _times(agent: Agent) -> dict[str, list[float]]:
    """The times that the agent has noted, if it times itself."""
    inner = innermost(agent)
    known = isinstance(inner, AgentDiagnostics)
    return {"encode_s": inner.encode_s, "plan_s": inner.plan_s} if known else {}


def _noted(agent: Agent) -> dict[str, int]:
    """How many times of each kind there are."""
    return {name: len(noted) for name, noted in _times(agent).items()}


def run_episode(
    config: EvaluateConfig,
    pairs: PairList,
    index: int,
    env: Environment,
    agent: Agent,
) -> EpisodeResult:
    """Run pair ``index`` once. The agent's ``encode_s`` and ``plan_s`` lists [s] are kept.

    Steps, errors, times and clipping end with the first family; traces of the others may be longer.

    Raises:
        DataError: the scene does not restore the pair. InputError: an impossible action.
    """
    pair, families = pairs.pairs[index], config.families or (pairs.family,)
    seed = planner_seed(config.seeded_as or config.row, pair.pair_id, pairs.eval_seed)
    goal_obs, goal_info = restore(env, config, pair, "goal")
    wanted, lay = observation(goal_obs, config.inputs), overlay(config.overlay, seed)
    if config.goal is not None:
        wanted |= config.goal(env, pair, seed)
    wanted["image"] = lay(wanted["image"])
    obs, info = restore(env, config, pair, "start")
    goal_pose, poses = np.asarray(goal_info["pose"], np.float64), [np.array(info["pose"])]
    privileged = (
        agent if config.inputs == "state" and isinstance(agent, PrivilegedObserver) else None
    )
    if privileged is not None:
        privileged.watch(info, goal_info)
    agent.reset(wanted, seed)
    before, end = _noted(agent), None
    clipped: list[float] = []
    traces: dict[str, np.ndarray] = {}
    for step in range(pairs.budget):
        if privileged is not None:
            privileged.watch(info, goal_info)
        seen = observation(obs, config.inputs)
        seen["image"] = lay(seen["image"])
        action, outside = _checked_action(agent.act(seen), env.spec)
        clipped.append(outside)
        obs, _, _, _, info = env.step(action)
        poses.append(np.array(info["pose"], np.float64))
        traces = {f: env.success(f, np.stack(poses), goal_pose) for f in families}
        if config.stop_on_success and end is None and traces[families[0]].any():
            end = step + 1, _noted(agent)
        if config.stop_on_success and all(trace.any() for trace in traces.values()):
            break
    steps, after = end or (len(poses) - 1, _noted(agent))
    times = {"encode_s": list[float](), "plan_s": list[float]()}
    for name, noted in _times(agent).items():
        times[name] = [float(s) for s in noted[before.get(name, 0) : after[name]]]
    inner = innermost(agent)
    traces[families[0]] = traces[families[0]][:steps]
    return EpisodeResult(
        pair_id=pair.pair_id,
        steps=steps,
        traces={f: [bool(bit) for bit in trace] for f, trace in traces.items()},
        clipped_fraction=float(np.mean(clipped[:steps])),
        final_error=pose_change(env.spec.pose, poses[steps], goal_pose),
        counts=dict(inner.counts) if isinstance(inner, CountsEvents) else {},
        **times,
    )


@dataclass
class _Runner:
    """One process's scene and agent, built when the first episode asks for them."""

    config: EvaluateConfig
    pairs: PairList
    make_env: MakeEnv
    make_agent: MakeAgent
    built: tuple[Environment, Agent] | None = None

    def __call__(self, index: int) -> EpisodeResult:
        if self.built is None:
            env = self.make_env()
            self.built = env, self.make_agent(env.spec)
            self.check(*self.built)
        return run_episode(self.config, self.pairs, index, *self.built)

    def check(self, env: Environment, agent: Agent) -> None:
        """Refuse predicates the scene lacks, and privileged agents in unprivileged rows."""
        families = set(self.config.families or (self.pairs.family,))
        if env.spec.task != self.pairs.task or not families <= set(env.spec.families):
            raise ConfigError(
                f"scene {env.spec.task} scored by {sorted(families)}, pairs of {self.pairs.task}",
                f"a {self.pairs.task} scene and families {env.spec.families}",
                "match scene, pair list and families",
            )
        if (self.config.inputs == "state") != isinstance(agent, PrivilegedObserver):
            raise ConfigError(
                f"{type(agent).__name__} in a row of inputs {self.config.inputs!r}",
                "inputs 'state' if and only if the agent watches the physics",
                "correct `inputs` or choose another agent",
            )

    def close(self) -> None:
        """Free the renderer."""
        if self.built is not None and hasattr(self.built[0], "close"):
            self.built[0].close()


def evaluate(
    config: EvaluateConfig, pairs: PairList, make_env: MakeEnv, make_agent: MakeAgent
) -> EvaluationResult:
    """Run every pair of a list; results do not depend on ``config.workers``.

    Args:
        make_env, make_agent: with more than one worker both must be recipes
            (:func:`robot_wm.core.instantiate.deferred`).

    Raises:
        ConfigError: row, scene, agent and pair list do not fit together.
        RobotWMError: whatever an episode raised, also from a worker process.
    """
    if parse_row(config.row).task != pairs.name or not pairs.pairs or config.workers < 1:
        raise ConfigError(
            f"row {config.row!r}, {len(pairs.pairs)} pairs of {pairs.name}, "
            f"{config.workers} workers",
            "a row and pairs of one task, at least one pair and one worker",
            "choose the pair list made for this task",
        )
    makers = (make_env, make_agent, config.goal)
    if config.workers > 1 and not all(m is None or is_deferred(m) for m in makers):
        raise ConfigError(
            "several workers with unnamed factories", "deferred('package.module.name', ...)",
            "pass recipes (robot_wm.core.instantiate.deferred) or use workers=1",
        )  # fmt: skip
    runner = _Runner(config, pairs, make_env, make_agent)
    done: dict[int, EpisodeResult] = {}
    solved = 0
    with progress(f"{config.row} {config.method}", len(pairs.pairs)) as show:
        try:
            for index, episode in spread(runner, len(pairs.pairs), config.workers):
                done[index] = episode
                solved += any(episode.traces[(config.families or (pairs.family,))[0]])
                show(len(done), f"{solved} solved")
        finally:
            runner.close()
    return EvaluationResult(config, pairs, [done[i] for i in sorted(done)])
