"""Pair lists: which start has to reach which goal, fixed once, committed, never redrawn.

Start and goal are two rows of one held-out episode, ``offset`` control steps apart, so the goal
is reachable. How they are drawn: ``planning/draw_pairs.py``.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.errors import DataError
from robot_wm.manifest import atomic_write, canonical_json, read_json

SCHEMA = "pairs-v1"
SPLIT_RULE = "split-v1: sha256('split-v1:{task}:{collection}:{episode_id}')/2^64, test < 0.10"
# A start counts as solved if standing still there would satisfy the predicate; longer than any hold
STAND_STEPS = 10

Success = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""``Environment.success``: (family, poses [T+1, K], goal pose [K]) -> bool [T]."""
Vector = tuple[float, ...]


@dataclass(frozen=True)
class Pair:
    """One start and one goal.

    Attributes:
        start_state, goal_state: full physics states, float64 ``[S]``.
        start_pose, goal_pose: privileged poses ``[K]`` in the units of ``EnvSpec.pose_names``.
        factors: values of the scene's factors of variation during the recording.
        difficulty: change of each pose entry from start to goal, in its unit.
        initial_success: per family, whether standing still at the start would count as success.
    """

    pair_id: str
    episode_id: int
    start_step: int
    goal_step: int
    start_state: Vector
    goal_state: Vector
    start_pose: Vector
    goal_pose: Vector
    factors: Mapping[str, Any]
    difficulty: Mapping[str, float]
    initial_success: Mapping[str, bool]


@dataclass(frozen=True)
class PairList:
    """A frozen list of pairs. Its file holds canonical JSON, so ``sha256sum`` prints its id."""

    schema: str
    family: str
    task: str
    collection: str
    dataset_sha256: str
    split: str
    split_rule: str
    offset: int
    budget: int
    eval_seed: int
    pairs: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """The task's name in rows, see :func:`named`."""
        return named(self.task, self.family, self.offset)

    @cached_property
    def text(self) -> str:
        """Canonical JSON of the whole list."""
        return canonical_json(asdict(self))

    @cached_property
    def sha256(self) -> str:
        """Identity of the list."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the list in one step."""
        atomic_write(path, self.text)

    @staticmethod
    def load(path: Path) -> PairList:
        """Read a list strictly.

        Raises:
            DataError: unreadable, another schema, unknown or missing keys, inconsistent pairs.
        """
        value = _exactly(PairList, read_json(path), str(path))
        pairs = tuple(_pair(item, str(path)) for item in value.pop("pairs"))
        made = PairList(**value, pairs=pairs)
        repeated = [name for name, n in Counter(p.pair_id for p in pairs).items() if n > 1]
        wrong = [p.pair_id for p in pairs if p.goal_step - p.start_step != made.offset]
        if made.schema != SCHEMA or repeated or wrong:
            raise _damaged(
                f"{path} has schema {made.schema!r}, repeated pairs {repeated}, "
                f"pairs of another offset {wrong}",
                f"schema {SCHEMA!r}, unique pairs {made.offset} steps apart",
            )
        return made


def named(task: str, family: str, offset: int) -> str:
    """A task's name in rows and files: ``push_t_50`` where pairs lie unusually far apart."""
    return f"{task}_{offset}" if family == "long" else task


def _damaged(received: str, accepted: str) -> DataError:
    return DataError(received, accepted, "restore the committed file or make the list again")


def _exactly(kind: type, value: Any, path: str) -> dict[str, Any]:
    """``value`` as keyword arguments of a dataclass, refusing any other key."""
    wanted = {f.name for f in fields(kind)}
    found = set(value) if isinstance(value, dict) else set()
    if found != wanted:
        missing, unknown = sorted(wanted - found), sorted(found - wanted)
        raise _damaged(
            f"{kind.__name__} in {path}: missing {missing}, unknown {unknown}",
            f"exactly the keys of {kind.__name__}",
        )
    return dict(value)


def _pair(value: Any, path: str) -> Pair:
    pair = _exactly(Pair, value, path)
    for name in ("start_state", "goal_state", "start_pose", "goal_pose"):
        vector = np.asarray(pair[name], np.float64)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise _damaged(f"{name} of pair {pair['pair_id']} in {path}", "finite numbers")
        pair[name] = tuple(vector.tolist())
    return Pair(**pair)


def solved_standing(success: Success, family: str, pose: np.ndarray, goal: np.ndarray) -> bool:
    """Whether staying at ``pose`` for longer than any hold would satisfy the predicate."""
    poses = np.repeat(np.asarray(pose, np.float64)[None], STAND_STEPS + 1, axis=0)
    return bool(np.any(success(family, poses, np.asarray(goal, np.float64))))


def pose_change(names: tuple[str, ...], start: np.ndarray, goal: np.ndarray) -> dict[str, float]:
    """Absolute change of every pose entry; entries named ``angle`` the short way round [rad]."""
    change = np.abs(np.asarray(goal, np.float64) - np.asarray(start, np.float64))
    turn = np.array(["angle" in name for name in names])
    short = np.abs((change + math.pi) % (2 * math.pi) - math.pi)
    return dict(zip(names, np.where(turn, short, change).tolist(), strict=True))
