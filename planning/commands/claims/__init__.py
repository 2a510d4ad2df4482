"""``robot-wm claims``: what some claims of the ledger need and no other command measures.

Each claim varies one option of one training (``claims.momenta``, ``codes``, ``temperatures``,
``depths``, ``scenes``); steps and sizes are those of the run. What exists is neither trained nor
measured again: an interrupted run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from planning.commands.claims.chance import scenes
from planning.commands.claims.dreams import temperatures
from planning.commands.claims.encoders import depths, momenta
from planning.commands.claims.latent_actions import codes
from planning.commands.claims.measuring import Measurement, render
from planning.ledger.measurements import FOLDER
from robot_wm.cli.paths import CHECKOUT

if TYPE_CHECKING:
    from robot_wm.cli.main import Session

PLANS: dict[int, Callable[[Session], list[Measurement]]] = {
    4: momenta, 5: codes, 7: temperatures, 8: depths, 10: scenes,
}  # fmt: skip


def run(session: Session) -> int:
    """Train and measure what is missing, print the table, write rows."""
    settings = session.settings
    # All are composed, and so checked, before the first is trained.
    wanted = [each for claim in settings.claims.which for each in PLANS[claim](session)]
    results = CHECKOUT / "results" if settings.publish else settings.run_path("claims")
    rows = [measurement.row(settings, results / FOLDER) for measurement in wanted]
    print(render(rows))
    print(f"rows: {results / FOLDER}")
    return 0
