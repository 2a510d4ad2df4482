"""Names of before on file and on the command line, and today's: the one table of them.

Files that are hashed, or compared with what is asked for (data sets, trainings, contracts of
bundles, planners in rows), go on being written with the names they have always had: their hashes
stay, an interrupted run goes on, and a robot with an older release reads a new bundle. Whatever is
read may carry either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robot_wm.core.errors import ConfigError

# section -> name of before -> today's
RENAMED: dict[str, dict[str, str]] = {
    "collect": {"behaviour": "policy"},
    "pretrain": {
        "together": "clips_per_episode",
        "shares": "dataset_weights",
        "centring": "centering",
        "centring_momentum": "centering_momentum",
    },
    "train": {
        "embed": "embedding_steps",
        "embed_episodes": "embedding_episodes",
        "embed_frames": "embedding_frames",
        "settle": "dynamics_steps",
        "settle_batch": "dynamics_batch",
        "settle_rollout": "dynamics_rollout",
        "shares": "dataset_weights",
        "tuned": "fine_tune",
        "kept": "interpolation",
        "judged": "goal_frames",
        "decoded": "reconstructed",
    },
    "improve": {"settle": "dynamics_steps", "kept": "interpolation"},
    "planner": {"optimiser": "optimizer"},
    "contract": {"optimiser": "optimizer", "licence": "license"},
    "row": {"also": "secondary_metrics"},
}
# Where on the command line a section's names stand.
PLACES = {
    "pretrain": ("pretrain", "objective.options"),
    "train": ("train",),
    "improve": ("improve",),
    "planner": ("planner", "oracle", "diagnosis"),
}
# Dotted names of before -> today's.
OPTIONS = {
    f"{place}.{before}": f"{place}.{today}"
    for section, places in PLACES.items()
    for place in places
    for before, today in RENAMED[section].items()
}


def current(section: str, value: Any) -> Any:
    """The same with today's names of ``section``, in mappings inside it, too.

    Raises:
        ConfigError: a name of before beside today's.
    """
    return _renamed(value, RENAMED[section])


def stored(section: str, value: Any) -> Any:
    """The same as it is written to files, with the names of before; inverse of :func:`current`."""
    return _renamed(value, {today: before for before, today in RENAMED[section].items()})


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        return type(value)(_renamed(item, names) for item in value)
    if not isinstance(value, Mapping):
        return value
    if twice := [old for old, new in names.items() if old in value and new in value]:
        old = twice[0]
        raise ConfigError(f"both {old} and {names[old]}", names[old], f"leave {old} out")
    return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
