"""Episodes in several processes: see :mod:`robot_wm.core.parallel`."""

from robot_wm.core.parallel import Factory, spread

__all__ = ["Factory", "spread"]
