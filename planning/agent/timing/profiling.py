"""Where does the time of a plan go: perception, imagination, or the optimiser.

The agent is timed as it runs in an episode; its model is wrapped by a proxy that keeps the contract
and holds a stopwatch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from planning.agent.mpc import MPCAgent
from robot_wm.core.errors import ConfigError
from robot_wm.core.protocols import History, ModelSpec, Proposer, WorldModel
from robot_wm.core.storage.provenance import provenance
from robot_wm.core.system.machine import matmul_gflops

PARTS = ("encode", "rollout", "propose")
# Between plan and reference [s]: NumPy's and the model's threads wait busily, each on the other's
# cores; without a rest encoding took ten times as long.
REST = 0.2


class TimedModel:
    """A world model with a stopwatch; costs and states are those of the model it wraps.

    Attributes:
        seconds: time spent per part since ``clear`` [s]: ``encode``, ``rollout`` (inside
            ``step_costs``), ``propose``.
        calls: how often each was called.
    """

    def __init__(self, model: WorldModel[Any]) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        self.clear()

    def clear(self) -> None:
        """Set every stopwatch to zero."""
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.calls = dict.fromkeys(PARTS, 0)

    def _timed(self, part: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        out = work()
        self.seconds[part] += time.perf_counter() - start
        self.calls[part] += 1
        return out

    def encode(self, history: History) -> Any:
        """See :class:`robot_wm.core.protocols.WorldModel`."""
        return self._timed("encode", lambda: self.model.encode(history))

    def step_costs(self, state: Any, goal: Any, actions: np.ndarray) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.WorldModel`."""
        return self._timed("rollout", lambda: self.model.step_costs(state, goal, actions))


class TimedProposer(TimedModel):
    """The same for a model with a learned actor."""

    def propose(self, state: Any, goal: Any, n: int, rng: np.random.Generator) -> np.ndarray:
        """See :class:`robot_wm.core.protocols.Proposer`."""
        model = self.model
        assert isinstance(model, Proposer)
        return self._timed("propose", lambda: model.propose(state, goal, n, rng))


def bench_plan(
    agent: MPCAgent,
    obs_goal: dict[str, np.ndarray],
    obs: dict[str, np.ndarray],
    repeats: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """Time plans in the middle of an episode, when the history is full.

    Args:
        agent: with its optimiser and model; its model is put back afterwards.
        obs_goal, obs: observations ``{"image", "proprio"}``; ``obs`` is shown again and again.
        repeats: plans timed.
        seed: of the agent.

    Returns:
        A row: for each of ``total``, ``encode``, ``rollout``, ``propose`` and ``rest`` (optimiser
        and bookkeeping) the keys ``<part>_ms_mean``, ``_p50``, ``_p95``, ``_p99`` [ms]; the parts'
        means sum to the total's. ``matmul_gflops`` is measured between the plans with NumPy, and
        ``ratio`` is the GFLOP of matrix product that fit into the median plan. Also what was
        planned, and provenance.

    Raises:
        ConfigError: fewer than one repeat.
        InputError: observations that do not fit the model.
    """
    if repeats < 1:
        raise ConfigError(f"{repeats} repeats", "1 or more", "raise it")
    plain = agent.model
    timed = (TimedProposer if isinstance(plain, Proposer) else TimedModel)(plain)
    agent.model = timed
    try:
        rows, speeds = _measure(agent, timed, obs_goal, obs, repeats, seed)
    finally:
        agent.model = plain
    row: dict[str, Any] = {"bench": "plan", "task": plain.spec.task, "repeats": repeats}
    for part, times in rows.items():
        ms = np.asarray(times) * 1e3
        row[f"{part}_ms_mean"] = float(ms.mean())
        row |= {f"{part}_ms_p{q}": float(np.percentile(ms, q)) for q in (50, 95, 99)}
    row["matmul_gflops"] = statistics.median(speeds)
    row["ratio"] = row["total_ms_p50"] / 1e3 * row["matmul_gflops"]
    row |= {
        "optimiser": type(agent.optimizer).__name__,
        "candidates": agent.optimizer.candidates,
        "horizon": agent.horizon,
        "rollout_calls": timed.calls["rollout"],
    }
    return {**row, **provenance()}


def _measure(
    agent: MPCAgent,
    timed: TimedModel,
    obs_goal: dict[str, np.ndarray],
    obs: dict[str, np.ndarray],
    repeats: int,
    seed: int,
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds per part and plan, and matrix-product speeds."""
    # One frame enters per block, one plan per `execute` blocks; at least one plan warms up.
    warmup = max(1, -(-(timed.spec.context - 1) // agent.execute))
    rows: dict[str, list[float]] = {part: [] for part in ("total", *PARTS, "rest")}
    speeds: list[float] = []
    plans = 0
    agent.reset(obs_goal, seed)
    while len(speeds) < repeats:
        timed.clear()
        start = time.perf_counter()
        agent.act(obs)
        total = time.perf_counter() - start
        if not timed.calls["encode"]:
            continue  # this step only played an old plan
        plans += 1
        if plans > warmup:
            rows["total"].append(total)
            rows["rest"].append(total - sum(timed.seconds.values()))
            for part in PARTS:
                rows[part].append(timed.seconds[part])
            time.sleep(REST)
            speeds.append(matmul_gflops(np.ones((512, 512), np.float32)))
            time.sleep(REST)
    return rows, speeds
