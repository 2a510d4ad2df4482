"""What a launcher is, and the recipe of an object that travels to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from robot_wm.core.instantiate import locate

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
        return locate(self.target)(*args, **self.kwargs)
