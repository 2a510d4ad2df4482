"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_told: set[str] = set()


def notice(text: str) -> None:
    """Say a line on stderr, once per process."""
    if text not in _told and sys.stderr is not None:
        _told.add(text)
        print(text, file=sys.stderr, flush=True)


class Progress(Protocol):
    """Call with the number of finished steps and, if you like, a short note."""

    def __call__(self, done: int, note: str = "") -> None:  # noqa: D102  (the class says it)
        ...


@contextmanager
def progress(title: str, total: int, every_s: float = 10.0) -> Iterator[Progress]:
    """Report progress towards ``total`` steps. Plain lines come at most every ``every_s`` [s]."""
    if sys.stderr and sys.stderr.isatty():
        try:
            from rich.progress import Progress as Bar
        except ImportError:  # the robot installs no rich
            pass
        else:
            with Bar(transient=False) as bar:
                task = bar.add_task(title, total=total)

                def show(done: int, note: str = "") -> None:
                    bar.update(task, completed=done, description=f"{title} {note}".strip())

                yield show
            return

    start = last = time.monotonic()

    def line(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        # Without a console there is no stderr, and print would choose stdout.
        if not sys.stderr or (done < total and now - last < every_s):
            return
        last = now
        print(
            f"{title}: {done}/{total} {now - start:.0f}s {note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )

    yield line


def say(text: str) -> None:
    """A line for people, on stderr: stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)
