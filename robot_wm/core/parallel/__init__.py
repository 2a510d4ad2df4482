"""Independent jobs on several workers, without changing a single result.

Where they run is the launcher's matter. Another one is a function with the signature of
:class:`~robot_wm.core.parallel.base.Launcher`, found through the entry points of
``robot_wm.launchers``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from robot_wm.core.parallel.base import Launcher, Result
from robot_wm.core.registry import Registry

__all__ = ["LAUNCHERS", "Launcher", "spread", "use_launcher"]

LAUNCHERS = Registry(
    "robot_wm.launchers",
    {
        "serial": "robot_wm.core.parallel.serial:run",
        "process": "robot_wm.core.parallel.process:run",
    },
)
_used = "process"


def use_launcher(name: str) -> None:
    """Let all work of this process that asks for several workers be run by this launcher.

    Called where a process begins, by the command line.

    Raises:
        ConfigError: no launcher of that name; those that are there are listed.
    """
    global _used
    _ = LAUNCHERS[name]
    _used = name


def spread(job: Callable[[int], Result], count: int, workers: int) -> Generator[tuple[int, Result]]:
    """Yield ``(index, job(index))`` for ``index < count``, in order of completion.

    With one worker or one job everything happens in this process, in order.

    Raises:
        RobotWMError: the very error ``job`` raised, or a worker was lost.
        RuntimeError: any other error of ``job`` in a worker, with its type and traceback.
    """
    needed = min(workers, count)
    launch: Launcher = LAUNCHERS[_used if needed > 1 else "serial"]
    yield from launch(job, count, max(1, needed))
