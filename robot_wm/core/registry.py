"""What can be chosen by name, ours and what other packages bring by entry points.

A package that is installed beside this one adds, for instance, a world model with::

    [project.entry-points."robot_wm.world_models"]
    mine = "my_package.model:MyFamily"

What is chosen with a YAML file (``task=mine``) comes with a package that holds such files in
folders of the groups' names (``task/mine.yaml``), as our own ``configs`` does::

    [project.entry-points."robot_wm.configs"]
    mine = "my_package.configs"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from robot_wm.core.config import unknown
from robot_wm.core.errors import ConfigError
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


CONFIGS = Registry("robot_wm.configs", {"robot_wm": "configs"})


def config_packages() -> list[str]:
    """Packages that hold YAML files in folders of groups, in the order of search: ours first.

    Raises:
        ConfigError: an entry point names what is no package.
    """
    targets = CONFIGS.targets
    for name, target in targets.items():
        if not _is_package(target):
            raise ConfigError(
                f"entry point {name} = {target!r} of {CONFIGS.group}",
                "a package: a folder with __init__.py and folders of YAML files",
                "correct or uninstall what brings it",
            )
    return list(reversed(targets.values()))


def yaml_files() -> dict[str, dict[str, Traversable]]:
    """YAML files of all packages by group and name; nobody replaces what is ours.

    Raises:
        ConfigError: see :func:`config_packages`.
    """
    found: dict[str, dict[str, Traversable]] = {}
    for package in reversed(config_packages()):
        for folder in files(package).iterdir():
            inner = list(folder.iterdir()) if folder.is_dir() else []
            named = {f.name[:-5]: f for f in inner if f.name.endswith(".yaml")}
            if named:
                found.setdefault(folder.name, {}).update(named)
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def _is_package(name: str) -> bool:
    try:
        return files(name).joinpath("__init__.py").is_file()
    except (ModuleNotFoundError, TypeError, ValueError):
        return False
