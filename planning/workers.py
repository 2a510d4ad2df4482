"""Recipes that travel to worker processes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robot_wm.core.parallel import spread
from robot_wm.errors import ConfigError

__all__ = ["Factory", "spread"]


@dataclass(frozen=True)
class Factory:
    """A recipe that travels to worker processes: ``"package.module:callable"`` and keywords."""

    target: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, *args: Any) -> Any:
        """Import the callable and call it.

        Raises:
            ConfigError: no such module or callable.
        """
        module, _, name = self.target.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"factory {self.target!r}: {error}", "package.module:callable", "correct the name"
            ) from error
        return make(*args, **self.kwargs)
