"""What a launcher is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class Launcher(Protocol):
    """A function that runs independent jobs somewhere.

    It yields ``(index, job(index))`` for every ``index < count``, in any order, on up to
    ``workers`` workers (at least 1, at most ``count``). The first error of a job ends the rest and
    is raised here with its type and message; so does closing the iterator, without an error.
    """

    def __call__(
        self, job: Callable[[int], Result], count: int, workers: int
    ) -> Iterator[tuple[int, Result]]:
        """Start, and yield results as they come."""
        ...
