"""``robot-wm results``: regenerate ``docs/results.md`` from the committed rows."""

from __future__ import annotations

from robot_wm.cli.paths import CHECKOUT
from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import atomic_write


def run() -> int:
    """Write the page and print its path.

    Raises:
        DataError: not inside a checkout, or an unreadable row.
    """
    from planning.comparison import results as comparison
    from planning.reporting.tables import render_tables
    from planning.surprise import results as surprise

    rows = CHECKOUT / "results"
    if not rows.is_dir():
        raise DataError(f"no folder {rows}", "a checkout of the repository", "run it there")
    page = CHECKOUT / "docs" / "results.md"
    parts = render_tables(rows), surprise.render_section(rows), comparison.render_section(rows)
    atomic_write(page, "\n".join(filter(None, parts)))
    print(f"tables: {page}")
    return 0
