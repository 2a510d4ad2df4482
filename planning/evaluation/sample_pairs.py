"""Draw pair lists from held-out episodes, and measure how hard a collection is.

The *row family* decides how rows are drawn: ``official`` uniformly over all rows, solved starts
kept; every other family (``moderate``, ``strict``, ``long`` with goals further away, and ``zs``,
whose starts and goals are valid under every level of every factor) one start per episode, solved
starts excluded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from planning.evaluation.goal_pairs import (
    SCHEMA,
    SPLIT_RULE,
    Pair,
    PairList,
    Success,
    pose_change,
    predicate_of,
    solved_standing,
)
from robot_wm.core.config import Count, Natural, Seed, check_fields
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.storage.atomic_io import check_name
from robot_wm.core.storage.provenance import sha256_of
from robot_wm.data.episodes import Episode
from robot_wm.data.formats.base import EpisodeReader

Valid = Callable[[np.ndarray], bool]
"""Whether a full physics state [S] may be a start or a goal."""
Eligible = Callable[[np.ndarray, np.ndarray, np.ndarray], bool]
"""A task's extra rule: (start pose [K], goal pose [K], poses from start to goal [offset+1, K])."""


@dataclass(frozen=True)
class PairsConfig:
    """How to draw pair lists.

    Attributes:
        family: row family: ``official`` or an episode-balanced one (``moderate``, ``strict``,
            ``long``, ``zs``).
        count: pairs per list.
        offset: control steps from start to goal; 0 draws both in the scene, by the task's own rule
            (cube: pick and place), instead of from recorded episodes.
        budget: control steps an agent may use.
        eval_seeds: one list each, disjoint by construction.
        split: which episodes to draw from.
        seed: of the one permutation all lists are cut from.
    """

    family: str = "official"
    count: Count = 100
    offset: Natural = 25
    budget: Count = 50
    eval_seeds: tuple[Seed, ...] = (0, 1, 42)
    split: Literal["train", "validation", "test"] = "test"
    seed: Seed = 0

    @property
    def predicate(self) -> str:
        """What scores the pairs."""
        return predicate_of(self.family)

    def __post_init__(self) -> None:
        check_fields(self, "pairs")
        check_name(self.family, "pairs.family")
        if not self.eval_seeds or len(set(self.eval_seeds)) < len(self.eval_seeds):
            raise ConfigError(
                f"pairs.eval_seeds = {list(self.eval_seeds)}", "one seed or more, no two alike",
                "correct pairs.eval_seeds",
            )  # fmt: skip


def _starts(store: EpisodeReader, episode_length: int, offset: int) -> range:
    """Rows at block boundaries whose goal row still exists."""
    return range(0, episode_length - offset + 1, store.schema.frame_every)


def _admits(
    episode: Episode, start: int, config: PairsConfig, success: Success, eligible: Eligible | None,
    valid: Valid | None,
) -> bool:  # fmt: skip
    between = np.asarray(episode.poses[start : start + config.offset + 1], np.float64)
    if eligible is not None and not eligible(between[0], between[-1], between):
        return False
    if solved_standing(success, config.predicate, between[0], between[-1]):
        return False
    ends = (start, start + config.offset) if valid is not None else ()
    return all(valid(np.asarray(episode.states[t], np.float64)) for t in ends)  # type: ignore[misc]


def _draw(
    config: PairsConfig,
    store: EpisodeReader,
    success: Success,
    eligible: Eligible | None,
    valid: Valid | None,
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
            if _admits(episode, t, config, success, eligible, valid):
                yield i, t
                break


def _pair_id(episode_id: int, start: int) -> str:
    return f"e{episode_id:06d}_t{start:04d}"


def _record(
    store: EpisodeReader, index: int, start: int, offset: int, success: Success, families: tuple
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
        difficulty=pose_change(store.schema.pose, *poses),
        initial_success={f: solved_standing(success, f, *poses) for f in families},
    )


def make_pair_lists(
    config: PairsConfig,
    store: EpisodeReader,
    success: Success,
    families: tuple[str, ...],
    eligible: Eligible | None = None,
    exclude: Collection[str] = (),
    valid: Valid | None = None,
) -> dict[int, PairList]:
    """One list per evaluation seed, consecutive cuts of one permutation: disjoint.

    Args:
        success: the scene's predicate, ``Environment.success``.
        families: the scene's predicates, for the ``initial_success`` flags.
        eligible: a task's extra rule, e.g. opposite rooms; unused by ``official``.
        exclude: ids of pairs that must not come again (episode-balanced: their episodes).
        valid: asked of starts and goals; unused by ``official``.

    Raises:
        DataError: too few eligible starts. Rules are never relaxed.
    """
    store.needs("states", "poses", work="a pair list")
    schema = store.schema
    key = f"{SCHEMA}:{config.family}:{schema.task}:{schema.collection}:{config.seed}"
    rng = np.random.default_rng(int(sha256_of(key)[:16], 16))
    need, found = config.count * len(config.eval_seeds), []
    for place in _draw(config, store, success, eligible, valid, exclude, rng):
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
        SPLIT_RULE, config.offset, config.budget, 0, (), config.seed,
    )  # fmt: skip
    lists = {}
    for k, seed in enumerate(sorted(config.eval_seeds)):
        cut = found[k * config.count : (k + 1) * config.count]
        pairs = tuple(_record(store, i, t, config.offset, success, families) for i, t in cut)
        lists[seed] = replace(empty, eval_seed=seed, pairs=pairs)
    return lists


def calibration(
    store: EpisodeReader,
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
    store.needs("poses", work="calibration")
    solved, changes = Counter[str](), []
    indices = store.indices(split)
    for index in indices:
        poses = np.asarray(store[index].poses, np.float64)
        for t in _starts(store, len(poses) - 1, offset):
            ends = poses[t], poses[t + offset]
            changes.append(list(pose_change(store.schema.pose, *ends).values()))
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
