"""Optimisers by name. A new one is a file with a subclass of Optimiser and a line here."""

from __future__ import annotations

from typing import Any

from planning.optimizers.base import Cost, Optimiser, Plan
from planning.optimizers.best_of_n import Choice
from planning.optimizers.cem import CEM
from planning.optimizers.icem import ICEM
from planning.optimizers.mppi import MPPI
from planning.optimizers.policy_only import Mode1
from robot_wm.core.errors import ConfigError

SAMPLING: dict[str, type[Optimiser]] = {"cem": CEM, "icem": ICEM, "mppi": MPPI}
OPTIMISERS: dict[str, type[Optimiser]] = {**SAMPLING, "choice": Choice, "mode1": Mode1}


def make(name: str, **options: Any) -> Optimiser:
    """The optimiser of that name.

    Raises:
        ConfigError: unknown name or option, or a value out of range.
    """
    if name not in OPTIMISERS:
        raise ConfigError(
            f"optimiser {name!r}", ", ".join(OPTIMISERS), "choose one of these in `planner/`"
        )
    accepted = OPTIMISERS[name].__dataclass_fields__
    if unknown := set(options) - set(accepted):
        raise ConfigError(
            f"{name}: unknown {sorted(unknown)}", ", ".join(accepted), "correct the option's name"
        )
    return OPTIMISERS[name](**options)


__all__ = [
    "CEM", "ICEM", "MPPI", "OPTIMISERS", "SAMPLING", "Choice", "Cost", "Mode1", "Optimiser", "Plan",
    "make",
]  # fmt: skip
