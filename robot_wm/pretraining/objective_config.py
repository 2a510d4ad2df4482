"""The section ``objective`` of the configuration; importing it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ObjectiveSettings:
    """The pretraining objective.

    Attributes:
        name: registered name.
        options: of that objective, checked by its own dataclass.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
