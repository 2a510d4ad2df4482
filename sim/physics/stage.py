"""Pairs of clips of a task, by category."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from robot_wm.core.config import unknown
from robot_wm.core.errors import InputError
from robot_wm.core.images import Size
from robot_wm.core.system.progress import say
from sim.env import make
from sim.physics.clips import ClipMaker, ClipPair
from sim.physics.edits import EditedScene, SceneEditor
from sim.physics.free_fall import NAME as GRAVITY
from sim.physics.free_fall import FreeFall
from sim.physics.violations import CATEGORIES

ALL = (*CATEGORIES, GRAVITY)
OTHER_SCENES = (GRAVITY,)  # categories shown in scenes that no task trains on


def clip_pairs(
    task: str, image_size: Size, block: int, categories: Collection[str], count: int, seed: int
) -> dict[str, list[ClipPair]]:
    """``count`` pairs of each category that the task can show; the others are told and left out.

    Args:
        categories: some of :data:`ALL`; empty takes all.
        block: control steps from frame to frame.

    Raises:
        ConfigError: an unknown category.
    """
    for name in categories:
        if name not in ALL:
            raise unknown("category in physics.categories:", name, ALL)
    wanted = [name for name in ALL if not categories or name in categories]
    found: dict[str, list[ClipPair]] = {}
    env = make(task, image_size)
    fall = FreeFall(image_size, block * env.task.control_dim) if GRAVITY in wanted else None
    try:
        maker = ClipMaker(env, block)
        for name in wanted:
            say(f"{count} pairs of clips of {task}: {name}")
            try:
                pairs = (
                    fall.pairs(count, seed) if fall is not None and name == GRAVITY
                    else maker.pairs(name, CATEGORIES[name], count, seed)
                )  # fmt: skip
                found[name] = list(pairs)
            except InputError as error:
                say(f"left out: {error.received}")
    finally:
        env.close()
        if fall is not None:
            fall.close()
    return found


def edited_scenes(
    task: str, image_size: Size, block: int, episodes: int, count: int, far: float, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[EditedScene]]:
    """Frames and places to fit a probe on, an entry an episode, and scenes with a body moved.

    Args:
        block: control steps from frame to frame.
        far: how far it is moved [m].

    Raises:
        InputError: a task where nothing has a place, or no room.
    """
    env = make(task, image_size)
    try:
        editor = SceneEditor(env, block)
        say(f"{episodes} episodes of {task} for a probe, {count} with a body moved")
        rngs = [np.random.default_rng([seed, part]) for part in (0, 1)]
        return (list(editor.episodes(episodes, rngs[0])),
                list(editor.scenes(count, far, rngs[1])))  # fmt: skip
    finally:
        env.close()
