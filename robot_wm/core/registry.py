"""What can be chosen by name, ours and what other packages bring by entry points.

A package that is installed beside this one adds, for instance, a world model with::

    [project.entry-points."robot_wm.world_models"]
    mine = "my_package.model:MyFamily"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from robot_wm.core.config import unknown
from robot_wm.core.instantiate import locate


class Registry(Mapping[str, Any]):
    """Objects by name, imported when first asked for.

    Args:
        group: entry-point group, e.g. ``robot_wm.world_models``.
        ours: dotted names of what this project itself has; nobody can replace them.
    """

    def __init__(self, group: str, ours: Mapping[str, str]) -> None:
        self.group, self._ours = group, dict(ours)

    @property
    def targets(self) -> dict[str, str]:
        """Dotted names by name; nothing is imported."""
        theirs = {entry.name: entry.value for entry in entry_points(group=self.group)}
        return {**theirs, **self._ours}

    def __getitem__(self, name: str) -> Any:
        """What has this name.

        Raises:
            ConfigError: nothing has; those that are there are listed.
        """
        targets = self.targets
        if name not in targets:
            one = self.group.rpartition(".")[2].removesuffix("s").replace("_", " ")
            raise unknown(f"{one}:", name, targets)
        return locate(targets[name])

    def __contains__(self, name: object) -> bool:
        return name in self.targets

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.targets))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.targets)
