"""Objects from dotted names, with Hydra's ``_target_`` syntax and without Hydra.

A recipe is a mapping ``{"_target_": "package.module.Name", **keywords}``. It is plain data: it can
stand in a YAML or a manifest, and it travels to worker processes and robots, which have no Hydra.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from robot_wm.core.errors import ConfigError

TARGET, PARTIAL, ARGS, RECURSIVE = "_target_", "_partial_", "_args_", "_recursive_"


def locate(name: str) -> Any:
    """The object of a dotted name: ``package.module.Class``, ``package.module:function.attr``.

    Raises:
        ConfigError: no such module or attribute.
    """
    module, colon, path = name.partition(":")
    parts = module.split(".") if not colon else [module, *path.split(".")]
    if not all(part.isidentifier() for word in parts for part in word.split(".")):
        raise ConfigError(f"target {name!r}", "package.module.Name", "correct the dotted name")
    # The longest prefix that is a module; what is left are its attributes.
    known = [1] if colon else range(len(parts) - 1, 0, -1)
    for split in known:
        place = ".".join(parts[:split])
        try:
            found = importlib.import_module(place)
        except ModuleNotFoundError as error:
            # A module that is there but needs one that is not tells about the latter.
            if error.name and not place.startswith(error.name):
                raise
            continue
        for attribute in parts[split:]:
            if not hasattr(found, attribute):
                raise ConfigError(
                    f"target {name!r}: {place} has no {attribute}", "package.module.Name",
                    "correct the dotted name",
                )  # fmt: skip
            found = getattr(found, attribute)
        return found
    raise ConfigError(
        f"target {name!r}: no such module", "package.module.Name of an installed package",
        "correct the dotted name, or install what it is part of",
    )  # fmt: skip


def instantiate(recipe: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
    """Call what a recipe names, its nested recipes first.

    Args:
        recipe: ``_target_``, and keywords; ``_args_`` holds positional arguments, ``_partial_``
            true gives a function that waits for the rest, ``_recursive_`` false leaves nested
            recipes as they are.
        arguments: positional ones in place of ``_args_``.
        keywords: over those of the recipe.

    Raises:
        ConfigError: no ``_target_``, or one that does not exist or takes other arguments.
    """
    if not isinstance(recipe, Mapping) or not isinstance(recipe.get(TARGET), str):
        raise ConfigError(f"recipe {recipe!r}", f"a mapping with {TARGET}", "name what to build")
    special = (TARGET, PARTIAL, ARGS, RECURSIVE)
    make: Callable[..., Any] = locate(recipe[TARGET])
    given = {key: value for key, value in recipe.items() if key not in special}
    own = list(recipe.get(ARGS, ()))
    if recipe.get(RECURSIVE, True):
        given = {key: _built(value) for key, value in given.items()}
        own = [_built(value) for value in own]
    positional = list(arguments) or own
    given |= keywords
    if recipe.get(PARTIAL, False):
        return partial(make, *positional, **given)
    return make(*positional, **given)


def deferred(target: str, **keywords: Any) -> partial[Any]:
    """A recipe as a function that waits for its positional arguments; it travels to workers.

    Args:
        target: dotted name.
        keywords: plain values and nested recipes, built when it is called.
    """
    return partial(instantiate, {TARGET: target, **keywords})


def is_deferred(make: object) -> bool:
    """Whether something is such a function."""
    return isinstance(make, partial) and make.func is instantiate


def _built(value: Any) -> Any:
    """A value with every recipe in it carried out."""
    if isinstance(value, Mapping):
        if TARGET in value:
            return instantiate(value)
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_built(item) for item in value)
    return value
