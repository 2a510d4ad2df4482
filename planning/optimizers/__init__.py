"""Optimisers by name. A new one is a file with a subclass of Optimizer and a line here."""

from __future__ import annotations

from typing import Any

from planning.optimizers.base import Cost, Optimizer, Plan
from planning.optimizers.best_of_n import BestOfN
from planning.optimizers.cem import CEM
from planning.optimizers.icem import ICEM
from planning.optimizers.mppi import MPPI
from planning.optimizers.policy_only import PolicyOnly
from robot_wm.core.errors import ConfigError

SAMPLING: dict[str, type[Optimizer]] = {"cem": CEM, "icem": ICEM, "mppi": MPPI}
OPTIMIZERS: dict[str, type[Optimizer]] = {**SAMPLING, "choice": BestOfN, "mode1": PolicyOnly}


def make(name: str, **options: Any) -> Optimizer:
    """The optimiser of that name.

    Raises:
        ConfigError: unknown name or option, or a value out of range.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(
            f"optimiser {name!r}", ", ".join(OPTIMIZERS), "choose one of these in `planner/`"
        )
    accepted = OPTIMIZERS[name].__dataclass_fields__
    if unknown := set(options) - set(accepted):
        raise ConfigError(
            f"{name}: unknown {sorted(unknown)}", ", ".join(accepted), "correct the option's name"
        )
    return OPTIMIZERS[name](**options)


def name_of(optimizer: Optimizer) -> str:
    """The name by which :func:`make` makes such a one; of another package's, its class's."""
    kinds = {kind: name for name, kind in OPTIMIZERS.items()}
    return kinds.get(type(optimizer), type(optimizer).__name__.lower())


__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "OPTIMIZERS",
    "SAMPLING",
    "BestOfN",
    "Cost",
    "Optimizer",
    "Plan",
    "PolicyOnly",
    "make",
    "name_of",
]  # fmt: skip
