"""Pair lists: which start has to reach which goal, fixed once, committed, never redrawn.

Start and goal are two rows of one held-out episode, ``offset`` control steps apart, so the goal
is reachable (``planning/evaluation/sample_pairs.py``); or, with offset 0, both are drawn in the
scene (``planning/evaluation/scene_pairs.py``).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_wm.core.config import Count, Natural, Sha256
from robot_wm.core.errors import DataError
from robot_wm.core.poses import PoseEntry
from robot_wm.core.storage.provenance import atomic_write, canonical_json
from robot_wm.core.storage.records import read_record

SCHEMA = "pairs-v1"
ZERO_SHOT = "zs"  # pairs that are valid under every level of every factor
SPLIT_RULE = "split-v1: sha256('split-v1:{task}:{collection}:{episode_id}')/2^64, test < 0.10"
# A start counts as solved if standing still there would satisfy the predicate; longer than any hold
STAND_STEPS = 10

Success = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""``Environment.success``: (family, poses [T+1, K], goal pose [K]) -> bool [T]."""
Vector = tuple[float, ...]
NEXT = "restore the committed file or make the list again"


@dataclass(frozen=True)
class Pair:
    """One start and one goal.

    Attributes:
        episode_id: number of the recorded episode; of the pair where it is drawn in the scene.
        start_step, goal_step: rows of that episode; 0 where there is none.
        start_state, goal_state: full physics states, float64 ``[S]``.
        start_pose, goal_pose: privileged poses ``[K]`` in the units of ``EnvSpec.pose``.
        factors: values of the scene's factors of variation during the recording.
        difficulty: change of each pose entry from start to goal, in its unit.
        initial_success: per family, whether standing still at the start would count as success.
    """

    pair_id: str
    episode_id: Natural
    start_step: Natural
    goal_step: Natural
    start_state: Vector
    goal_state: Vector
    start_pose: Vector
    goal_pose: Vector
    factors: Mapping[str, Any]
    difficulty: Mapping[str, float]
    initial_success: Mapping[str, bool]


@dataclass(frozen=True)
class PairList:
    """A frozen list of pairs. Its file holds canonical JSON, so ``sha256sum`` prints its id.

    ``seed`` is that of the permutation from which the lists were cut; the file leaves out 0. Where
    pairs are drawn in the scene, ``offset`` is 0, ``collection`` the task's name for such pairs and
    ``dataset_sha256`` that of the rule by which they are drawn.
    """

    schema: str
    family: str
    task: str
    collection: str
    dataset_sha256: Sha256
    split: Literal["train", "validation", "test"]
    split_rule: str
    offset: Natural
    budget: Count
    eval_seed: Natural
    pairs: tuple[Pair, ...]
    seed: Natural = 0

    @property
    def predicate(self) -> str:
        """What scores it, see :func:`predicate_of`."""
        return predicate_of(self.family)

    @property
    def name(self) -> str:
        """The task's name in rows, see :func:`named`."""
        return named(self.task, self.family, self.offset, self.collection)

    @cached_property
    def text(self) -> str:
        """Canonical JSON of the whole list."""
        values = asdict(self)
        if not self.seed:
            del values["seed"]
        return canonical_json(values)

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
        made = read_record(path, PairList, NEXT)
        pairs = made.pairs
        repeated = [name for name, n in Counter(p.pair_id for p in pairs).items() if n > 1]
        wrong = [p.pair_id for p in pairs if p.goal_step - p.start_step != made.offset]
        sizes = {
            name: {len(getattr(pair, name)) for pair in pairs}
            for name in ("start_state", "goal_state", "start_pose", "goal_pose")
        }
        odd = {
            name: sorted(found) for name, found in sizes.items() if len(found) != 1 or 0 in found
        }
        poses = sizes["start_pose"] != sizes["goal_pose"]
        if made.schema != SCHEMA or repeated or wrong or odd or poses:
            raise DataError(
                f"{path} has schema {made.schema!r}, repeated pairs {repeated}, "
                f"pairs of another offset {wrong}, states and poses of sizes {odd or sizes}",
                f"schema {SCHEMA!r}, unique pairs {made.offset} steps apart, of one size",
                NEXT,
            )
        return made


def named(task: str, family: str, offset: int, collection: str) -> str:
    """A task's name in rows and files.

    ``push_t_50`` where pairs lie unusually far apart, ``cube_pick_place`` where they are drawn in
    the scene.
    """
    if not offset:
        return f"{task}_{collection}"
    return f"{task}_{offset}" if family == "long" else task


def predicate_of(family: str) -> str:
    """The predicate that scores a family: that of its name, of ``zs`` the official one."""
    return "official" if family == ZERO_SHOT else family


def solved_standing(success: Success, family: str, pose: np.ndarray, goal: np.ndarray) -> bool:
    """Whether staying at ``pose`` for longer than any hold would satisfy the predicate."""
    poses = np.repeat(np.asarray(pose, np.float64)[None], STAND_STEPS + 1, axis=0)
    return bool(np.any(success(family, poses, np.asarray(goal, np.float64))))


def pose_change(pose: Sequence[PoseEntry], start: np.ndarray, goal: np.ndarray) -> dict[str, float]:
    """Absolute change of every pose entry by its label; angles the short way round [rad]."""
    change = np.abs(np.asarray(goal, np.float64) - np.asarray(start, np.float64))
    turn = np.array([entry.kind == "angle" for entry in pose])
    short = np.abs((change + math.pi) % (2 * math.pi) - math.pi)
    changed = np.where(turn, short, change).tolist()
    return {entry.label: value for entry, value in zip(pose, changed, strict=True)}
