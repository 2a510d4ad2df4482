"""A scene's mirror image as data: what is seen and done, reflected, could have happened as well.

Twice the episodes for a tenth of a collection's price, where the scene looks the same in the mirror
and moves by the same law. A reflected episode keeps its number, so it falls into its original's
split: nothing of a held-out episode is learnt from, not even its mirror image.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.images import sides
from robot_wm.core.storage.atomic_io import atomic_write
from robot_wm.core.storage.markdown import card
from robot_wm.data.episodes import Episode
from robot_wm.data.formats.base import open_episodes
from robot_wm.data.formats.native import open_dataset, write_shard
from robot_wm.data.shards import fill
from sim.env import STATE
from sim.tasks import TASKS
from sim.tasks.abilities import Reflects, able
from sim.tasks.base import Task


def mirror(source: Path, root: Path) -> Path:
    """Reflect every episode of a nominal collection; shards that exist are kept.

    Returns:
        ``root``, a data set like ``source``.

    Raises:
        ConfigError: the task has no mirror image, or the episodes have varied scenes.
        DataError: ``root`` holds something else.
        StorageError: the disk is full, or another process mirrors into ``root``.
    """
    store = open_episodes(source)
    task = TASKS[store.schema.task]() if store.schema.task in TASKS else None
    varied = [store.meta(i)["id"] for i in range(len(store)) if store.meta(i).get("factors")]
    size = sides(store.schema.image_size)
    if task is None or task.mirror is None or not task.mirror.fits(*size) or varied:
        raise ConfigError(
            f"the mirror image of {source} ({store.schema.task}, {len(varied)} varied episodes)",
            f"nominal episodes of {', '.join(n for n, t in TASKS.items() if t.mirror)}",
            "leave the mirrored collection out of `train_on`",
        )
    able(task, Reflects, "a mirrored collection")
    known = (store.schema.state_dim, store.schema.pose_names, store.schema.proprio_dim)
    if known != (0, (), 0) and not store.schema.state_dim:
        raise ConfigError(
            f"the mirror image of poses and proprioception without states in {source}",
            "physics states, or images and actions alone", "leave it out of `train_on`",
        )  # fmt: skip
    config = {**store.schema.config, "mirrored": True}
    schema, shards, model = replace(store.schema, config=config), store.shards(), task.compile({})

    def write(index: int) -> None:
        write_shard(root, index, [reflected(task, model, store[i]) for i in shards[index]])

    fill(root, shards, write, "mirroring", begin=lambda: open_dataset(root, schema))
    about = (
        f"The {len(store)} episodes of `{source.name}`, each reflected: images, actions, poses and "
        "physics states.\nNothing was simulated. Episode numbers and splits are those of the "
        "originals."
    )
    atomic_write(root / "card.md", card(f"Data card: {schema.task}, mirrored", about))
    return root


def reflected(task: Task, model: mujoco.MjModel, episode: Episode) -> Episode:
    """The mirror image of one episode."""
    assert task.mirror is not None  # the caller asked
    seen = replace(
        episode,
        frames=task.mirror.images(np.asarray(episode.frames)),
        actions=task.mirror.actions(np.asarray(episode.actions)),
    )
    if not episode.states.shape[1]:  # a robot's log: images and actions are all there is
        return seen
    data, states, poses, proprio = mujoco.MjData(model), [], [], []
    for row in np.asarray(episode.states):
        mujoco.mj_setState(model, data, row, STATE)
        able(task, Reflects, "a mirrored collection").reflect(data)
        state = np.empty_like(row)
        mujoco.mj_getState(model, data, state, STATE)
        states.append(state)
        poses.append(task.pose(data.qpos, data.qvel))
        proprio.append(task.proprio(data)[: task.proprio_dim])
    return replace(seen, states=np.stack(states), poses=np.stack(poses), proprio=np.stack(proprio))
