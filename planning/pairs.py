"""Pair lists: which start has to reach which goal, fixed once, committed, never redrawn.

Start and goal are two rows of one held-out episode, ``offset`` control steps apart, so the goal
is reachable. The *row family* decides how rows are drawn: ``official`` uniformly over all rows,
solved starts kept; every other family one start per episode, solved starts excluded.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.episodes import Episode, EpisodeStore
from robot_wm.errors import DataError
from robot_wm.manifest import atomic_write, canonical_json, read_json, sha256_of

SCHEMA = "pairs-v1"
SPLIT_RULE = "split-v1: sha256('split-v1:{task}:{collection}:{episode_id}')/2^64, test < 0.10"
# A start counts as solved if standing still there would satisfy the predicate; longer than any hold
STAND_STEPS = 10

Success = Callable[[str, np.ndarray, np.ndarray], np.ndarray]
"""``Environment.success``: (family, poses [T+1, K], goal pose [K]) -> bool [T]."""
Eligible = Callable[[np.ndarray, np.ndarray, np.ndarray], bool]
"""A task's extra rule: (start pose [K], goal pose [K], poses from start to goal [offset+1, K])."""
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
class PairsConfig:
    """How to draw pair lists.

    Attributes:
        family: row family: ``official`` or an episode-balanced one (``moderate``, ``strict``).
        count: pairs per list.
        offset: control steps from start to goal.
        budget: control steps an agent may use.
        eval_seeds: one list each, disjoint by construction.
        split: which episodes to draw from.
        seed: of the one permutation all lists are cut from.
    """

    family: str = "official"
    count: int = 100
    offset: int = 25
    budget: int = 50
    eval_seeds: tuple[int, ...] = (0, 1, 42)
    split: str = "test"
    seed: int = 0


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


def _starts(store: EpisodeStore, episode_length: int, offset: int) -> range:
    """Rows at block boundaries whose goal row still exists."""
    return range(0, episode_length - offset + 1, store.schema.frame_every)


def _admits(
    episode: Episode, start: int, config: PairsConfig, success: Success, eligible: Eligible | None
) -> bool:
    between = np.asarray(episode.poses[start : start + config.offset + 1], np.float64)
    if eligible is not None and not eligible(between[0], between[-1], between):
        return False
    return not solved_standing(success, config.family, between[0], between[-1])


def _draw(
    config: PairsConfig,
    store: EpisodeStore,
    success: Success,
    eligible: Eligible | None,
    exclude: Collection[str],
    rng: np.random.Generator,
) -> Iterator[tuple[int, int]]:
    """Positions and start rows in random order, as many as the rules allow."""
    indices = store.indices(config.split)
    if config.family == "official":
        rows = [
            (i, t) for i in indices for t in _starts(store, store.meta(i)["length"], config.offset)
        ]
        for k in rng.permutation(len(rows)):
            if _pair_id(store.meta(rows[k][0])["id"], rows[k][1]) not in exclude:
                yield rows[k]
        return
    taken = {name.split("_")[0] for name in exclude}
    for i in rng.permutation(indices).tolist():
        episode = store[i]
        if _pair_id(episode.id, 0).split("_")[0] in taken:
            continue
        # The first admitted row of a shuffle is uniform over the admitted rows.
        for t in rng.permutation(_starts(store, len(episode), config.offset)).tolist():
            if _admits(episode, t, config, success, eligible):
                yield i, t
                break


def _pair_id(episode_id: int, start: int) -> str:
    return f"e{episode_id:06d}_t{start:04d}"


def _record(
    store: EpisodeStore, index: int, start: int, offset: int, success: Success, families: tuple
) -> Pair:
    episode = store[index]
    goal = start + offset
    poses = np.asarray(episode.poses, np.float64)[[start, goal]]
    states = np.asarray(episode.states, np.float64)[[start, goal]]
    return Pair(
        pair_id=_pair_id(episode.id, start),
        episode_id=episode.id,
        start_step=start,
        goal_step=goal,
        start_state=tuple(states[0].tolist()),
        goal_state=tuple(states[1].tolist()),
        start_pose=tuple(poses[0].tolist()),
        goal_pose=tuple(poses[1].tolist()),
        factors=episode.meta.get("factors", {}),
        difficulty=pose_change(store.schema.pose_names, *poses),
        initial_success={f: solved_standing(success, f, *poses) for f in families},
    )


def make_pair_lists(
    config: PairsConfig,
    store: EpisodeStore,
    success: Success,
    families: tuple[str, ...],
    eligible: Eligible | None = None,
    exclude: Collection[str] = (),
) -> dict[int, PairList]:
    """One list per evaluation seed, consecutive cuts of one permutation: disjoint.

    Args:
        success: the scene's predicate, ``Environment.success``.
        families: the scene's predicates, for the ``initial_success`` flags.
        eligible: a task's extra rule, e.g. opposite rooms; unused by ``official``.
        exclude: ids of pairs that must not come again (episode-balanced: their episodes).

    Raises:
        DataError: too few eligible starts. Rules are never relaxed.
    """
    schema = store.schema
    key = f"{SCHEMA}:{config.family}:{schema.task}:{schema.collection}:{config.seed}"
    rng = np.random.default_rng(int(sha256_of(key)[:16], 16))
    need, found = config.count * len(config.eval_seeds), []
    for place in _draw(config, store, success, eligible, exclude, rng):
        found.append(place)
        if len(found) == need:
            break
    if len(found) < need:
        more = math.ceil((need - len(found)) * len(store) / max(len(found), 1))
        raise DataError(
            f"{len(found)} eligible starts for {config.family}/{schema.task} "
            f"in {len(store)} episodes",
            f"{need} ({len(config.eval_seeds)} evaluation seeds x {config.count} pairs)",
            f"collect about {more} more episodes; the rules are never relaxed",
        )
    empty = PairList(
        SCHEMA, config.family, schema.task, schema.collection, store.sha256, config.split,
        SPLIT_RULE, config.offset, config.budget, 0, (),
    )  # fmt: skip
    lists = {}
    for k, seed in enumerate(sorted(config.eval_seeds)):
        cut = found[k * config.count : (k + 1) * config.count]
        pairs = tuple(_record(store, i, t, config.offset, success, families) for i, t in cut)
        lists[seed] = replace(empty, eval_seed=seed, pairs=pairs)
    return lists


def calibration(
    store: EpisodeStore,
    success: Success,
    families: tuple[str, ...],
    offset: int = 25,
    split: str = "test",
) -> dict[str, Any]:
    """What makes a collection easy or hard, over *all* its pairs; compare with the anchors.

    Returns:
        ``pairs``, ``episodes``, ``solved`` (fraction of starts already solved, per family) and
        ``median_change`` (per pose entry, in its unit).
    """
    solved, changes = Counter[str](), []
    indices = store.indices(split)
    for index in indices:
        poses = np.asarray(store[index].poses, np.float64)
        for t in _starts(store, len(poses) - 1, offset):
            ends = poses[t], poses[t + offset]
            changes.append(list(pose_change(store.schema.pose_names, *ends).values()))
            solved.update(f for f in families if solved_standing(success, f, *ends))
    if not changes:
        raise DataError(
            f"no {split} episode of {store.root} lasts {offset} steps", "one or more", "collect"
        )
    return {
        "pairs": len(changes),
        "episodes": len(indices),
        "solved": {f: solved[f] / len(changes) for f in families},
        "median_change": dict(
            zip(store.schema.pose_names, np.median(changes, axis=0).tolist(), strict=True)
        ),
    }
