"""Goal images to order: of an edited scene, of one where only some things matter, of a recording.

Whoever sets a goal may know the simulator; the planner gets the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Protocol

import mujoco
import numpy as np

from robot_wm.core.config import Natural, convert
from robot_wm.core.errors import ConfigError, DataError, InputError
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from sim.env import GoalEnv
from sim.tasks.abilities import Posable, able
from sim.tasks.base import Task

ALTERNATIVES = 5  # pictures beside the goal's own in which others are elsewhere
OVERLAP = 0.002  # depth of contacts that a pushed body has at times [m]
TRIES = 1_000  # scenes drawn until one is free of overlap


class RecordedPair(Protocol):
    """Where in a data set start and goal come from (``planning.evaluation.goal_pairs.Pair``)."""

    episode_id: int
    start_step: int
    goal_step: int


def names(task: Task) -> dict[str, int]:
    """Entries of the pose that can be set, by name without unit; speeds cannot."""
    return {e.name: i for i, e in enumerate(task.pose_entries) if e.kind != "velocity"}


def goal_from_pose(env: GoalEnv, changes: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """The scene as it stands now, at rest, with some entries of its pose set anew.

    The scene is left in that state.

    Args:
        changes: values of entries of ``spec.pose`` by name, e.g. ``{"block_x": 0.3}``, in their
            own unit.

    Returns:
        Image uint8 ``[height, width, 3]`` and pose ``[K]``.

    Raises:
        ConfigError: an unknown entry, or a task whose poses cannot be set.
        InputError: bodies would overlap, or a value out of the scene's range.
    """
    known = names(env.task)
    if unknown := sorted(set(changes) - set(known)):
        raise ConfigError(f"pose entries {unknown}", ", ".join(known), "correct the spelling")
    pose = env.task.pose(env.data.qpos, env.data.qvel).copy()
    for name, value in changes.items():
        pose[known[name]] = value if isinstance(value, Real) else np.nan
    if not np.isfinite(pose).all() or not free(env, pose):
        raise InputError(
            f"a pose {dict(changes)} in which bodies overlap or leave the scene",
            "a pose that the scene can take", "move them apart",
        )  # fmt: skip
    return env.render(), env.task.pose(env.data.qpos, env.data.qvel)


def goal_free_bodies(
    env: GoalEnv, keep: Sequence[str], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Pictures of the scene in which only some bodies matter: those stay, all others are anywhere.

    To an agent they are goals of which any will do. The scene is put back.

    Args:
        keep: bodies, the first words of the pose's entries, e.g. ``("block",)``.
        count: pictures besides the scene as it is.

    Returns:
        uint8 ``[count + 1, height, width, 3]``, the scene as it is first.

    Raises:
        ConfigError: an unknown body, or a task whose poses cannot be set.
        InputError: no free place was found for the others.
    """
    known = names(env.task)
    bodies = list(dict.fromkeys(env.task.pose_entries[i].body for i in known.values()))
    if not keep or not set(keep) <= set(bodies):
        raise ConfigError(f"bodies {list(keep)}", f"some of {bodies}", "correct the spelling")
    before = env.state()
    fixed = env.task.pose(env.data.qpos, env.data.qvel).copy()
    entries = [i for i in known.values() if env.task.pose_entries[i].body in keep]
    images, tries = [env.render()], 0
    while len(images) <= count:
        env.task.sample_initial_state(env.data, rng)
        pose = env.task.pose(env.data.qpos, env.data.qvel).copy()
        pose[entries] = fixed[entries]
        if free(env, pose):
            images.append(env.render())
        elif (tries := tries + 1) > TRIES:
            raise InputError(f"no free place in {TRIES} tries", "some room", "keep fewer bodies")
    env.reset(options={"state": before, "factors": env.factors})
    return np.stack(images)


def subgoals_from_demo(store: EpisodeReader, index: int, every: int = 0) -> np.ndarray:
    """Pictures of a recording: those on the way, one per ``every`` stored frames, and its last.

    Args:
        index: position of the episode in the store; a robot's log is one, too.
        every: 0 takes the last picture alone.

    Returns:
        uint8 ``[V + 1, height, width, 3]``: all but the last are meant to be passed on the way.

    Raises:
        InputError: no such episode.
    """
    if not 0 <= index < len(store):
        raise InputError(f"episode {index}", f"0 to {len(store) - 1}", "choose one of them")
    convert(Natural, every, "every")
    frames = store[index].frames
    last = len(frames) - 1
    on_the_way = range(every, last, every) if every else ()
    return np.stack([frames[i] for i in (*on_the_way, last)])


def goals_for_pair(
    env: GoalEnv, pair: RecordedPair, seed: int, keep: Sequence[str], via: int, dataset: str = ""
) -> dict[str, np.ndarray]:
    """Goal pictures of an evaluated pair, with the scene at its goal.

    Args:
        keep: see :func:`goal_free_bodies`; empty takes the goal as it is.
        via: pictures of the pair's recording on the way, evenly spaced in time.
        dataset: folder of that recording.

    Raises:
        DataError: the recording is missing.
    """
    rng, goal = np.random.default_rng(seed), dict[str, np.ndarray]()
    goal["image"] = goal_free_bodies(env, keep, ALTERNATIVES, rng) if keep else env.render()
    if via:
        store, places = _opened(dataset)
        if pair.episode_id not in places:
            raise DataError(
                f"{dataset} has no episode {pair.episode_id}",
                "the collection from which the pairs were drawn",
                "collect as many episodes as there were then",
            )
        frames, every = store[places[pair.episode_id]].frames, store.schema.frame_every
        steps = np.linspace(pair.start_step, pair.goal_step, via + 2)[1:-1]
        goal["via"] = np.stack([frames[round(step / every)] for step in steps])
    return goal


@cache
def _opened(dataset: str) -> tuple[EpisodeReader, dict[int, int]]:
    """A data set and the positions of its episodes by number."""
    store = open_episodes(Path(dataset))
    return store, {store.meta(i)["id"]: i for i in range(len(store))}


def free(env: GoalEnv, pose: np.ndarray) -> bool:
    """Bring the scene into a pose; whether nothing overlaps there, all in range and in view."""
    model, data = env.model, env.data
    able(env.task, Posable, "a goal ordered by its pose").set_pose(data, pose)
    mujoco.mj_forward(model, data)
    limited = model.jnt_limited.astype(bool)
    low, high = model.jnt_range[limited].T
    reached = data.qpos[model.jnt_qposadr[limited]]
    return bool(
        (data.contact.dist > -OVERLAP).all()
        and (reached >= low).all()
        and (reached <= high).all()
        and env.task.inside(pose)
    )
