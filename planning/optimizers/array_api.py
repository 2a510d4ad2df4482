"""One way to the array functions of whatever library an array comes from.

NumPy 2 is a Python array API library by itself; for the others array-api-compat fills the gaps, so
a robot that plans with NumPy does not need it.
"""

from __future__ import annotations

from typing import Any


def array_namespace(array: Any) -> Any:
    """The array API functions for ``array``."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    import array_api_compat

    return array_api_compat.array_namespace(array)
