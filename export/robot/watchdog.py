"""A thread that works for another which cannot wait: it is asked, and left behind if it hangs."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from robot_wm.core.errors import ConfigError, RobotWMError

Result = TypeVar("Result")


class Late(Exception):
    """The work was not done in time. It goes on; its result will be thrown away."""


@dataclass
class _Job:
    work: Callable[[], Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


def _serve(jobs: queue.SimpleQueue[_Job | None], free: threading.Semaphore) -> None:
    while (job := jobs.get()) is not None:
        try:
            job.result = job.work()
        except BaseException as error:  # all of it belongs to whoever asked
            job.error = error
        free.release()
        job.done.set()
        del job


class Worker:
    """Does one thing at a time in a thread of its own, which ends with the worker.

    Work that never lets other threads run, in a library that keeps Python's lock, cannot be
    watched: nothing in this process could.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._free = threading.Semaphore(1)
        self._started = False
        self._job: _Job | None = None  # the last that was begun
        self._overdue: _Job | None = None  # the last that somebody waited for in vain
        # A thread that hangs must not keep the process from ending.
        self._thread = threading.Thread(
            target=_serve, args=(self._jobs, self._free), name="planner", daemon=True
        )
        weakref.finalize(self, self._jobs.put, None)

    def call(self, work: Callable[[], Result], patience: float) -> Result:
        """What ``work`` returns or raises.

        Args:
            patience: longest wait [s], for work that was begun before included.

        Raises:
            Late: it was not done by then.
        """
        end = time.monotonic() + patience
        if not self._free.acquire(timeout=patience):
            self._overdue = self._job
            raise Late
        if not self._started:
            try:
                self._thread.start()
            except BaseException:
                self._free.release()
                raise
            self._started = True
        job = self._job = _Job(work)
        self._jobs.put(job)
        if not job.done.wait(max(0.0, end - time.monotonic())):
            self._overdue = job
            raise Late
        if job.error is not None:
            raise job.error
        result: Result = job.result
        return result

    def patiently(self, work: Callable[[], Result], patience: float) -> Result:
        """:meth:`call` for a planner's longest work, before anything moves.

        Raises:
            ConfigError: it does not answer, or fails; RobotWMError: the planner's own.
        """
        try:
            return self.call(work, patience)
        except RobotWMError:
            raise
        except Late as error:
            raise ConfigError(
                f"a planner that has not answered for {patience:g} s", "one that answers",
                "start again with another planner",
            ) from error  # fmt: skip
        except Exception as error:  # whatever the planner raises
            raise ConfigError(
                f"a planner that fails at this goal: {error!r}", "one that takes it",
                "look at the planner's own message",
            ) from error  # fmt: skip

    @property
    def busy(self) -> bool:
        """Whether something that was asked is still being done."""
        if self._free.acquire(blocking=False):
            self._free.release()
            return False
        return True

    @property
    def overdue(self) -> bool:
        """Whether something is still being done for which somebody waited in vain."""
        return self._overdue is not None and not self._overdue.done.is_set()
