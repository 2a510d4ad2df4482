"""Jobs on processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from robot_wm.core.errors import RobotWMError
from robot_wm.core.parallel.base import Result
from robot_wm.core.system.machine import use_threads

_task: Callable[[int], Any] | None = None  # of a worker process


def _open(task: Callable[[int], Any], parent: Connection) -> None:
    global _task
    _task = task
    use_threads(1)  # processes of several threads each would fight for the same cores
    # The parent decides when to stop; Ctrl-C reaches every process of a terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """End this process when the parent lets go of its end, be it that it was killed."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)  # whatever is half-written is swept by whoever comes next


def _run(index: int) -> Any:
    assert _task is not None
    try:
        return _task(index)
    except RobotWMError:
        raise
    except Exception:  # which may not survive the journey home
        raise RuntimeError(f"in a worker process:\n{traceback.format_exc()}") from None


def run(job: Callable[[int], Result], count: int, workers: int) -> Iterator[tuple[int, Result]]:
    """See :class:`~robot_wm.core.parallel.base.Launcher`.

    ``job`` is sent once to each of ``workers`` spawned processes (a fork would copy renderer and
    thread state), which compute with one thread. They end with this process, however it ends, and
    at the first error.

    Raises:
        RobotWMError: the very error ``job`` raised, or a worker process died.
        RuntimeError: any other error of ``job``, with its traceback.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _open, (job, theirs))
    try:
        jobs = {pool.submit(_run, index): index for index in range(count)}
        for done in as_completed(jobs):
            yield jobs[done], done.result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise RobotWMError(
            "a worker process died",
            "memory enough for every worker, and in a script of yours the start of the work below "
            "`if __name__ == '__main__':`",
            "run it again with workers=1: what was finished is kept",
        ) from error
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()
