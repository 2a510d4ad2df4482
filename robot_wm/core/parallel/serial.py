"""Every job in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from robot_wm.core.parallel.base import Result


def run(job: Callable[[int], Result], count: int, workers: int = 1) -> Iterator[tuple[int, Result]]:
    """See :class:`~robot_wm.core.parallel.base.Launcher`; an error is raised as it is."""
    return ((index, job(index)) for index in range(count))
