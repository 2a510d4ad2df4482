"""Two pages of the documentation, written from rows: the agent's modules, and the claims."""

from __future__ import annotations

from collections import Counter

from planning.ledger.claims import CLAIMS
from planning.ledger.evidence import Evidence
from planning.ledger.modules import MODULES
from planning.ledger.rules import Verdict
from planning.reporting.pages import environment


def render_modules(evidence: Evidence) -> str:
    """``docs/ami.md``.

    Raises:
        DataError: an unreadable row, or a line of the log that is quoted and not there.
    """
    lines = [(each, [worth(evidence) for worth in each.worth]) for each in MODULES]
    return environment().get_template("ami.md.j2").render(modules=lines)


def render_claims(evidence: Evidence) -> str:
    """``docs/claims.md``.

    Raises:
        DataError: an unreadable row.
    """
    judged = [(number, claim, claim.judge(evidence)) for number, claim in enumerate(CLAIMS, 1)]
    counted = Counter(found.verdict for _, _, found in judged)
    return environment().get_template("claims.md.j2").render(
        claims=judged, counted=[(verdict.value, counted[verdict]) for verdict in Verdict]
    )  # fmt: skip
