"""Entries of a privileged pose: what each number is, and how files spell it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from robot_wm.core.errors import ConfigError

Kind = Literal["position", "angle", "joint", "velocity"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class PoseEntry:
    """One number of a pose vector.

    Attributes:
        name: without blanks, its first word the body, e.g. ``block_x``.
        unit: SI where there is one, e.g. ``m``, ``rad``, ``m/s``; may be empty.
        kind: ``position``; ``angle``, of which two values 2π apart are the same; ``joint``, an
            angle of which they are not; ``velocity``, which is no part of a goal at rest.

    Raises:
        ConfigError: another kind.
    """

    name: str
    unit: str
    kind: Kind

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"pose entry {self.name!r}: kind {self.kind!r}", ", ".join(KINDS),
                              "choose one of them")  # fmt: skip

    @property
    def body(self) -> str:
        """The body that it belongs to."""
        return self.name.partition("_")[0]

    @property
    def turns(self) -> bool:
        """Whether it is an angle of either kind, to be learned as cosine and sine."""
        return self.kind in ("angle", "joint")

    @property
    def label(self) -> str:
        """As files spell it: ``block_x [m]``, and ``yaw [rad, angle]`` if the kind is unusual."""
        usual = self.kind == usual_kind(self.name, self.unit)
        details = ", ".join(filter(None, (self.unit, "" if usual else self.kind)))
        return f"{self.name} [{details}]" if details else self.name

    @staticmethod
    def parse(label: str) -> PoseEntry:
        """Inverse of :attr:`label`; any text is understood somehow, data of others included."""
        name, _, rest = label.partition("[")
        name, unit = name.strip(), rest.rpartition("]")[0]
        for kind in get_args(Kind):
            if unit == kind or unit.endswith(f", {kind}"):
                return PoseEntry(name, unit.removesuffix(kind).removesuffix(", "), kind)
        return PoseEntry(name, unit, usual_kind(name, unit))


def usual_kind(name: str, unit: str) -> Kind:
    """The kind that name and unit suggest."""
    if unit.endswith("/s") or re.search(r"speed|velocity|(^|_)v[xyz]?\s*$", name):
        return "velocity"
    if "angle" in name:
        return "angle"
    return "joint" if unit.startswith("rad") else "position"


def entries(labels: Iterable[str]) -> tuple[PoseEntry, ...]:
    """Entries from their labels."""
    return tuple(map(PoseEntry.parse, labels))
