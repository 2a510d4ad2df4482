"""Every error a user can cause: one base class, six children.

Each message says the value received, the values accepted, and what to do next.
"""

from __future__ import annotations


class RobotWMError(Exception):
    """Base class of every error raised on purpose by this project.

    Args:
        received: what was found, in words a user recognises.
        accepted: what would have been right.
        next_step: the command to type or the change to make.
    """

    def __init__(self, received: str, accepted: str, next_step: str) -> None:
        self.received, self.accepted, self.next_step = received, accepted, next_step
        end = "" if next_step.endswith("?") else "."
        super().__init__(f"{received}. Accepted: {accepted}. Next: {next_step}{end}")

    def __reduce__(self) -> tuple[type[RobotWMError], tuple[str, str, str]]:
        """Three arguments, not the one message: errors travel between processes."""
        return type(self), (self.received, self.accepted, self.next_step)


class InputError(RobotWMError):
    """An observation, goal or action that breaks the contract (shape, dtype, NaN, bounds)."""


class ConfigError(RobotWMError):
    """A configuration key or value that is unknown, missing or contradictory."""


class DataError(RobotWMError):
    """A data set or latent cache that is missing, corrupt or of another parent."""


class WeightsError(RobotWMError):
    """A weight file that is truncated, altered, of the wrong shape or of another parent."""


class StorageError(RobotWMError):
    """The disk is full or not writable. Nothing half-written is left behind."""


class RendererError(RobotWMError):
    """No OpenGL backend could be started on this machine."""
