"""How fast a bundle plans and how much memory its process takes, on the machine at hand.

    python -m export.runtime.latency BUNDLE --threads 2 --plans 300 --candidates 64 --iterations 2

needs what the robot has, onnxruntime and NumPy, and prints one JSON row. Run it as a process of its
own: memory is that of the whole process, Python included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from export.runtime.agent import agent_of
from export.runtime.bundle_spec import GOLDEN
from export.runtime.process_memory import memory_mb
from export.runtime.world_model import OnnxWorldModel
from planning.agent.costs import LastCost, Objective
from planning.agent.mpc import MPCAgent
from planning.agent.protocols import SupportsMirror
from planning.optimizers import make, name_of
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.storage.provenance import provenance
from robot_wm.core.system.children import python
from robot_wm.core.system.machine import matmul_gflops

WARM_UP = 10
PUBLISHED = {"candidates": 300, "iterations": 30, "elites": 30}
REST_S = 0.2  # before the reference: threads that still wait busily would slow it


def measure(
    folder: Path, plans: int = 300, threads: int = 2, reference: int = 0, **changes: Any
) -> dict[str, Any]:
    """Plan again and again on the bundle's own golden images.

    One pixel changes from look to look, since a frame that was seen before is not encoded again.

    Args:
        folder: the bundle.
        plans: timed, after ``WARM_UP`` others.
        threads: of one operator.
        reference: plans of the cross-entropy method of the published planners (300 candidates, 30
            rounds, no actor, one view; DINO-WM, LeWM) timed beside; 0 times none.
        changes: of the search, e.g. ``candidates=64``, or its ``budget`` [s].

    Returns:
        A row: ``total``, ``encode`` and ``plan`` with ``_ms_p50``, ``_p95``, ``_p99`` and ``_max``
        (``plan`` is proposals and search), ``rss_mb`` of the process after planning and
        ``peak_mb`` [MiB], ``grown_mb`` since the warm-up, ``bundle_mb`` [MB], NumPy's
        ``matmul_gflops`` in the same process, ``ratio`` (GFLOP of matrix product that fit into the
        median plan), what was planned, and provenance; with a reference ``cem_ms_p50``, its median
        plan with encoding, and ``times_faster``, that over ``total_ms_p50``.

    Raises:
        ConfigError: no plans. WeightsError: see :func:`export.runtime.bundle_spec.read_contract`.
    """
    if plans < 1 or reference < 0:
        raise ConfigError(
            f"plans = {plans}, reference = {reference}", "1 or more, 0 or more", "raise it"
        )
    model = OnnxWorldModel(folder, threads=threads)
    agent = agent_of(model, **changes)
    with np.load(Path(folder) / GOLDEN, allow_pickle=False) as golden:
        image, goal = golden["in_image"].copy(), golden["in_goal"].copy()
    agent.reset({"image": goal}, seed=0)
    _drive(agent, image, WARM_UP)
    before = memory_mb()[0]
    _drive(agent, image, WARM_UP + plans)
    times = {"encode": np.array(agent.encode_s), "plan": np.array(agent.plan_s)}
    times["total"] = times["encode"] + times["plan"]
    row: dict[str, Any] = {"bench": "latency", "task": model.spec.task, "plans": plans}
    for part, seconds in times.items():
        ms = 1e3 * seconds[WARM_UP:]
        row |= {f"{part}_ms_p{q}": float(np.percentile(ms, q)) for q in (50, 95, 99)}
        row[f"{part}_ms_max"] = float(ms.max())
    now, peak = memory_mb()
    row |= {
        "rss_mb": now,
        "grown_mb": now - before,
        "peak_mb": peak,
        "bundle_mb": sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e6,
        "matmul_gflops": _reference(),
        "threads": threads,
        "optimiser": name_of(agent.optimizer),
        "candidates": agent.optimizer.candidates,
        "iterations": agent.optimizer.iterations,
        "proposals": agent.proposals,
        "views": 2 if isinstance(agent.model, SupportsMirror) else 1,
        "budget_ms": 1e3 * changes.get("budget", 0.0),
        "world_model": model.spec.hashes.get("world_model", ""),
    }
    row["ratio"] = row["total_ms_p50"] / 1e3 * row["matmul_gflops"]
    if reference:
        cem = make("cem", **PUBLISHED)
        slow = MPCAgent(model, cem, Objective(LastCost()), model.spec.horizon)
        slow.reset({"image": goal}, seed=0)
        _drive(slow, image, 1 + reference)
        both = np.array(slow.encode_s) + np.array(slow.plan_s)
        row["cem_ms_p50"] = 1e3 * float(np.median(both[1:]))
        row["times_faster"] = row["cem_ms_p50"] / row["total_ms_p50"]
    return {**row, **provenance()}


def _drive(agent: MPCAgent, image: np.ndarray, plans: int) -> None:
    """Let it look and act until it has made so many plans of this episode; ``image`` changes."""
    while len(agent.plan_s) < plans:
        image[0, 0, 0] = (int(image[0, 0, 0]) + 1) % 256
        agent.act({"image": image})


def _reference(size: int = 512, repeats: int = 21) -> float:
    """Median speed of one float32 product of two ``[size, size]`` matrices [GFLOP/s]."""
    time.sleep(REST_S)
    matrix = np.ones((size, size), np.float32)
    return statistics.median(matmul_gflops(matrix) for _ in range(repeats))


def measure_apart(folder: Path, **options: int) -> dict[str, Any]:
    """:func:`measure` in a process of its own, which has loaded nothing else.

    Raises:
        DataError: that process failed.
    """
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = ["-m", "export.runtime.latency", str(folder), *flags]
    done = python(command)
    if done.returncode:
        raise DataError(
            f"the measuring process failed: {done.stderr[-500:]}", "one JSON row",
            f"run  python {' '.join(command)}  yourself",
        )  # fmt: skip
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def main() -> None:
    """Print the row of one bundle."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--plans", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--reference", type=int, default=0, help="plans of a 300 x 30 CEM to time beside"
    )
    parser.add_argument(
        "--optimizer", "--optimiser", help="another search than the bundle's, e.g. choice"
    )
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--budget", type=float, help="cut the search to this time for a plan [s]")
    given = vars(parser.parse_args())
    fixed = [given.pop(key) for key in ("bundle", "plans", "threads", "reference")]
    changes = {key: value for key, value in given.items() if value is not None}
    print(json.dumps(measure(*fixed, **changes)))


if __name__ == "__main__":
    main()
