"""Are our scenes as hard as the published ones? Gates that every result row refers to.

The anchors' simulators are re-created here, so published numbers are comparable only where these
quantities agree: starts that are solved already, what random actions reach, and what the same
planner reaches with the true simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Per cent, from released data and audits of the reference protocol. Two numbers a row:
# official / strict for solved starts, official / moderate / strict for random actions.
SOLVED = {"push_t": (0.22, 22.96), "reacher": (0.57, 2.24), "two_room": (8.82, 2.44)}
RANDOM = {"push_t": (4.0, 4.0, 5.0), "reacher": (13.0, 7.3, 8.0), "two_room": (26.0, 6.7, 1.7)}
ORACLE = {"push_t": 95.0, "reacher": 98.0, "two_room": 99.0}
SHARE, POINTS = 0.5, 5.0


def gates(task: str) -> dict[str, tuple[float, bool]]:
    """Reference value [%] by quantity, and whether it is a lower bound."""
    solved = zip(("official", "strict"), SOLVED[task], strict=True)
    floor = zip(("official", "moderate", "strict"), RANDOM[task], strict=True)
    return {
        **{f"solved starts, {family}": (value, False) for family, value in solved},
        **{f"random actions, {family}": (value, False) for family, value in floor},
        "true simulator, official": (ORACLE[task], True),
    }


def judge(task: str, measured: Mapping[str, float]) -> dict[str, Any]:
    """Compare with the references: within ±50 % or ±5 points, or at least the lower bound.

    Args:
        measured: per cent by quantity, see :func:`gates`; a missing one fails.

    Returns:
        ``calibrated``, ``why`` (failed gates in words, empty if none) and ``gates``, one mapping of
        ``measured``, ``reference``, ``passed`` per quantity.
    """
    rows, failed = {}, []
    for name, (reference, least) in gates(task).items():
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
