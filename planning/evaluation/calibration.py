"""Are our scenes as hard as the published ones? Gates that every result row refers to.

The anchors' simulators are re-created here, so published numbers are comparable only where these
quantities agree: starts that are solved already, what random actions reach, and what the same
planner reaches with the true simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

SHARE, POINTS = 0.5, 5.0


class Published(Protocol):
    """Per cent, from released data and audits of the reference protocol; a task's own.

    Attributes:
        solved: starts that are goals already, official and strict.
        random: success of random actions, official, moderate and strict.
        oracle: success of the planner on the true simulator, official.
    """

    @property
    def solved(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def random(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def oracle(self) -> float: ...  # noqa: D102


def gates(published: Published) -> dict[str, tuple[float, bool]]:
    """Reference value [%] by quantity, and whether it is a lower bound."""
    solved = zip(("official", "strict"), published.solved, strict=True)
    floor = zip(("official", "moderate", "strict"), published.random, strict=True)
    return {
        **{f"solved starts, {family}": (value, False) for family, value in solved},
        **{f"random actions, {family}": (value, False) for family, value in floor},
        "true simulator, official": (published.oracle, True),
    }


def judge(published: Published, measured: Mapping[str, float]) -> dict[str, Any]:
    """Compare with the references: within ±50 % or ±5 points, or at least the lower bound.

    Args:
        measured: per cent by quantity, see :func:`gates`; a missing one fails.

    Returns:
        ``calibrated``, ``why`` (failed gates in words, empty if none) and ``gates``, one mapping of
        ``measured``, ``reference``, ``passed`` per quantity.
    """
    rows, failed = {}, []
    for name, (reference, least) in gates(published).items():
        value = measured.get(name)
        if value is None:
            passed, text = False, f"{name}: not measured"
        elif least:
            passed, text = value >= reference, f"{name}: {value:.1f}, below {reference:g}"
        else:
            passed = abs(value - reference) <= max(SHARE * reference, POINTS)
            text = f"{name}: {value:.1f}, not near {reference:g}"
        rows[name] = {"measured": value, "reference": reference, "passed": passed}
        failed += [] if passed else [text]
    return {"calibrated": not failed, "why": "; ".join(failed), "gates": rows}
