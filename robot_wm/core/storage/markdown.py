"""Cards and tables in Markdown: what an artefact or a result says to people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a line break at its end."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], f"|{' --- |' * len(header)}", *lines[1:]]) + "\n"


def card(title: str, about: str, facts: Iterable[str] = (), rest: str = "") -> str:
    """The card of an artefact, ``card.md``.

    Args:
        title: what it is.
        about: what it does or where it comes from, a paragraph.
        facts: one a point.
        rest: e.g. a :func:`table`, ending in a line break.
    """
    points = "".join(f"* {fact}\n" for fact in facts)
    return "\n".join([f"# {title}\n", f"{about}\n", *filter(None, (points, rest))])
