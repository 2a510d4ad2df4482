"""Names of before, which answer as the ones of today: options of sections are in core/aliases."""

from __future__ import annotations

from robot_wm.core.aliases import OPTIONS as SECTIONS

COMMANDS = {
    "ablate": "ablate-encoder",
    "bench": "benchmark",
    "improve": "self-improve",
    "modules": "ablate-planner",
    "page": "web-demo",
    "reach": "reach-goal",
    "soak": "stress-test",
}
# Dotted names; those inside them follow.
KEYS = {"preset": "experiment", "model": "world_model"}
# group -> option
OPTIONS = {"planner": {"choice": "best_of_n", "mode1": "policy_only"}}


def command_of(name: str) -> str:
    """Today's name of a command."""
    return COMMANDS.get(name, name)


def key_of(name: str) -> str:
    """Today's name of a dotted key; the longest entry of the table that it begins with decides."""
    for old in sorted(KEYS, key=len, reverse=True):
        if name == old or name.startswith(f"{old}."):
            name = KEYS[old] + name[len(old) :]
            break
    return SECTIONS.get(name, name)


def option_of(group: str, name: str) -> str:
    """Today's name of a group's option."""
    return OPTIONS.get(group, {}).get(name, name)
