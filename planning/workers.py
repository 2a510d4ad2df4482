"""Spread independent episodes over processes without changing a single result."""

from __future__ import annotations

import importlib
import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, TypeVar

from robot_wm import errors
from robot_wm.errors import ConfigError, RobotWMError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Factory:
    """A recipe that travels to worker processes: ``"package.module:callable"`` and keywords."""

    target: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any) -> Any:
        """Import the callable and call it.

        Raises:
            ConfigError: no such module or callable.
        """
        module, _, name = self.target.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"factory {self.target!r}: {error}", "package.module:callable", "correct the name"
            ) from error
        return make(*args, **self.kwargs)


@dataclass(frozen=True)
class _Failure:
    """An error on its way home: exceptions with three arguments do not survive the journey."""

    kind: str
    fields: tuple[str, ...]

    def error(self) -> Exception:
        kind = getattr(errors, self.kind, None)
        return kind(*self.fields) if kind else RuntimeError("\n".join(self.fields))


_task: Callable[[int], Any] | None = None  # of a worker process


def _open(task: Callable[[int], Any]) -> None:
    global _task
    _task = task


def _run(index: int) -> Any:
    assert _task is not None
    try:
        return _task(index)
    except RobotWMError as error:
        return _Failure(type(error).__name__, (error.received, error.accepted, error.next_step))
    except Exception:
        return _Failure("", ("in a worker process:", traceback.format_exc()))


def spread(task: Callable[[int], Result], count: int, workers: int) -> Iterator[tuple[int, Result]]:
    """Yield ``(index, task(index))`` for ``index < count``, in order of completion.

    With one worker everything happens in this process, in order. Otherwise ``task`` is sent once
    to each of ``workers`` spawned processes (a fork would copy renderer and thread state).

    Raises:
        RobotWMError: the very error ``task`` raised, or a worker process died.
        RuntimeError: any other error of ``task`` in a worker, with its traceback.
    """
    if workers == 1:
        yield from ((index, task(index)) for index in range(count))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, count), context, _open, (task,))
    try:
        jobs: dict[Future[Any], int] = {pool.submit(_run, i): i for i in range(count)}
        for job in as_completed(jobs):
            result = job.result()
            if isinstance(result, _Failure):
                raise result.error()
            yield jobs[job], result
    except BrokenProcessPool as error:
        raise RobotWMError(
            "a worker process died", "enough memory for every worker", "run with workers=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
