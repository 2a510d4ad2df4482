"""Spread independent jobs over processes without changing a single result."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from robot_wm.errors import RobotWMError

Result = TypeVar("Result")

_task: Callable[[int], Any] | None = None  # of a worker process


def _open(task: Callable[[int], Any]) -> None:
    global _task
    _task = task


def _run(index: int) -> Any:
    assert _task is not None
    try:
        return _task(index)
    except RobotWMError:
        raise
    except Exception:
        # Other exceptions may hold what cannot be sent home.
        raise RuntimeError("in a worker process:\n" + traceback.format_exc()) from None


def spread(task: Callable[[int], Result], count: int, workers: int) -> Iterator[tuple[int, Result]]:
    """Yield ``(index, task(index))`` for ``index < count``, in order of completion.

    With one worker everything happens in this process, in order. Otherwise ``task`` is sent once
    to each of ``workers`` spawned processes (a fork would copy renderer and thread state).

    Raises:
        RobotWMError: the very error ``task`` raised, or a worker process died.
        RuntimeError: any other error of ``task`` in a worker, with its traceback.
    """
    if workers == 1 or count <= 1:
        yield from ((index, task(index)) for index in range(count))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, count), context, _open, (task,))
    try:
        jobs: dict[Future[Any], int] = {pool.submit(_run, i): i for i in range(count)}
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    except BrokenProcessPool as error:
        raise RobotWMError(
            "a worker process died (killed, or out of memory)", "enough memory for every worker",
            "run the same command again, which goes on where it stopped; with workers=1 it needs "
            "the least memory",
        ) from error  # fmt: skip
    finally:
        pool.shutdown(cancel_futures=True)
