"""The controller on a recorded stream for as long as you like, with everything going wrong.

This file knows the promise of the :class:`export.robot.controller.Controller` and none of its
checks: it breaks what comes from the camera, the clock, the planner and the callers, and looks at
the commands alone. A robot that goes exactly where it is told says where it is. No torch, no scene:
this runs on the robot.
"""

from __future__ import annotations

import numpy as np

from export.robot.fault_injection import INJECTED_FAULTS
from export.robot.safety_limits import Limits
from export.robot.stress_report import StressReport
from export.robot.stress_run import StressRun
from export.runtime.process_memory import memory_mb
from planning.agent.mpc import MPCAgent
from robot_wm.core.errors import InputError
from robot_wm.core.system.progress import progress

__all__ = ["INJECTED_FAULTS", "StressReport", "stress_test"]


def stress_test(
    agent: MPCAgent,
    limits: Limits,
    frames: np.ndarray,
    ticks: int,
    rate: float = 0.1,
    length: int = 100,
    seed: int = 0,
) -> StressReport:
    """Run the controller.

    Args:
        agent: plans from images.
        limits: see ``export.robot.safety_limits``; without workspace one is made around the robot.
        frames: recorded stream uint8 ``[F, S, S, 3]``, played round and round.
        ticks: control steps.
        rate: things that go wrong per block, while nothing else does.
        length: control steps per goal, unless the controller stops before.
        seed: of everything drawn.

    Raises:
        InputError: no frames.
    """
    if not len(frames):
        raise InputError("no recorded frames", "a stream of at least one", "record some")
    run = StressRun(agent, limits, frames, np.random.default_rng(seed), rate, length)
    early = max(1, ticks // 10)
    with progress("soak", ticks) as report:
        for tick in range(ticks):
            run.tick()
            if tick + 1 == early:
                run.out.memory_mb = (memory_mb()[1], 0.0)
            if (tick + 1) % 1000 == 0:
                report(tick + 1, f"{sum(run.out.injected.values())} faults")
    run.close()
    run.out.memory_mb = (run.out.memory_mb[0], memory_mb()[1])
    return run.out
