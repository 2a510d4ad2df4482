"""Behaviours by task and name: every task names its own."""

from __future__ import annotations

from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from sim.policies.base import Policy
from sim.tasks import TASKS

EVERY = {"random": "sim.policies.base:RandomPolicy"}


def policies(task: str) -> dict[str, str]:
    """Dotted names of a task's behaviours, by name.

    Raises:
        ConfigError: no such task.
    """
    return {**EVERY, **TASKS[task].policies}


def make_policy(task: str, name: str, noise: float = 0.0) -> Policy:
    """Build a behaviour.

    Raises:
        ConfigError: no such task, or no such policy for this task.
    """
    known = policies(task)
    if name not in known:
        raise ConfigError(
            f"policy {name!r} of task {task!r}", ", ".join(sorted(known)),
            "name one of these, or add it to the task's `policies`",
        )  # fmt: skip
    made: Policy = locate(known[name])(task, noise)
    return made
