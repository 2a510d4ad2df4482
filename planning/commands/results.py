"""``robot-wm results``: regenerate the pages of ``docs/`` that are made from the committed rows."""

from __future__ import annotations

from pathlib import Path

from robot_wm.cli.paths import CHECKOUT
from robot_wm.core.errors import DataError
from robot_wm.core.storage.json_io import read_lines
from robot_wm.core.storage.provenance import atomic_write

REFERENCE = "mae"  # the objective whose final knowledge the others are timed to reach


def run() -> int:
    """Write the pages and print their paths.

    Raises:
        DataError: not inside a checkout, or an unreadable row.
    """
    if not (CHECKOUT / "results").is_dir():
        raise DataError(
            f"no folder {CHECKOUT / 'results'}", "a checkout of the repository", "run it there"
        )
    for name, text in pages(CHECKOUT).items():
        path = CHECKOUT / "docs" / name
        atomic_write(path, text)
        print(f"page: {path}")
    return 0


def pages(root: Path) -> dict[str, str]:
    """Pages of a checkout's ``docs/`` by the name of their file.

    Raises:
        DataError: an unreadable row.
    """
    from planning.comparison import results as comparison
    from planning.ledger.evidence import Evidence
    from planning.ledger.pages import render_claims, render_modules
    from planning.reporting import pretraining
    from planning.reporting.tables import render_tables
    from planning.surprise import results as surprise
    from robot_wm.commands.compare_objectives import efficiency

    rows = root / "results"
    sections = pretraining, surprise, comparison
    parts = render_tables(rows), *(part.render_section(rows) for part in sections)
    curves = sorted((rows / "encoder").glob("objectives-*-curve.jsonl"))
    evidence = Evidence(
        root, {path.stem: efficiency(read_lines(path, whole=True), REFERENCE) for path in curves}
    )
    return {
        "results.md": "\n".join(filter(None, parts)),
        "ami.md": render_modules(evidence),
        "claims.md": render_claims(evidence),
    }
