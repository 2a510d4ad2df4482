"""A page over all reports of a storage folder: those with failures first, the worst on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from planning.reporting.pages import environment
from planning.reporting.pictures import Picture, picture
from planning.reporting.records import EpisodeRecord
from robot_wm.core.config import Natural
from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import atomic_write, write_json
from robot_wm.core.storage.records import read_record

NAME = "reports.html"


@dataclass(frozen=True)
class Entry:
    """What the index says of one report; kept beside it as JSON.

    Attributes:
        title: of the page.
        episodes, successes: of the row that is its subject.
        date: when the row was made.
        goal, end: of the first episode shown; None if none is.
    """

    title: str
    episodes: Natural
    successes: Natural
    date: str
    goal: Picture | None = None
    end: Picture | None = None

    @property
    def missed(self) -> int:
        """Episodes that failed."""
        return self.episodes - self.successes


def beside(page: Path) -> Path:
    """Where the entry of a report is kept."""
    return page.with_suffix(".json")


def describe(
    page: Path, rows: Sequence[Mapping[str, Any]], episodes: Sequence[EpisodeRecord], title: str
) -> None:
    """Keep the entry of a report, whose first row is its subject.

    Raises:
        StorageError: the disk is full or not writable.
    """
    subject = rows[0] if rows else {}
    first = min(episodes, key=lambda episode: episode.hit is not None, default=None)
    entry = Entry(
        title=title,
        episodes=subject.get("episodes", len(episodes)),
        successes=subject.get("successes", sum(e.hit is not None for e in episodes)),
        date=str(subject.get("date", "")),
        goal=picture(first.goal) if first else None,
        end=picture(first.end) if first else None,
    )
    write_json(beside(page), asdict(entry))


def write_index(root: Path) -> Path:
    """The page over all reports below ``root/runs``; those of other releases are linked last.

    Returns:
        Its path, ``root/reports.html``.

    Raises:
        StorageError: the disk is full or not writable.
    """
    entries: list[tuple[Entry, Path]] = []
    others: list[Path] = []
    for page in sorted(root.glob("runs/*/report-*.html")):
        try:
            entries.append((read_record(beside(page), Entry), page))
        except DataError:  # none there, or one that another release wrote
            others.append(page)
    entries.sort(key=lambda pair: (-pair[0].missed / max(1, pair[0].episodes), str(pair[1])))
    text = environment().get_template("index.html.j2").render(
        entries=[(entry, page.relative_to(root).as_posix(), page.parent.name)
                 for entry, page in entries],
        others=[page.relative_to(root).as_posix() for page in others],
    )  # fmt: skip
    atomic_write(root / NAME, text)
    return root / NAME
