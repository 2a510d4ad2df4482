"""A collection in other looks: recorded states with other colours, light, camera and sizes.

The scene restores a state exactly, so an episode of ``<source>-looks`` shows what its source does,
frame for frame. One appearance is drawn per episode, from the training ranges of the factors that
change pictures and of sizes, which change nothing else where nothing moves. Numbers, and with them
splits, are those of the source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.atomic_io import atomic_write
from robot_wm.core.storage.markdown import card
from robot_wm.data.episodes import Episode
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.data.formats.native import open_dataset, write_shard
from robot_wm.data.looks import KEY, SOURCE, digest
from robot_wm.data.shards import fill
from sim.env import GoalEnv
from sim.randomization import draw, drawn_again
from sim.tasks import TASKS

STREAM = 0x100C5  # of the appearances, apart from every stream of a collection


def repaint(source: Path, root: Path, number: int, episodes: int, workers: int = 1) -> Path:
    """Draw the first episodes of a nominal collection again; shards that exist are kept.

    Args:
        source: a collection with physics states.
        root: gets a data set like ``source``.
        number: of these looks, from 1; another one gives every episode another look.
        episodes: how many (rounded up to whole shards of the source).
        workers: processes; they do not influence the data.

    Raises:
        ConfigError: a task without such factors, episodes without states, or varied ones.
        DataError: ``root`` holds something else.
        StorageError: the disk is full, or another process draws into ``root``.
    """
    store = open_episodes(source)
    task, known = store.schema.task, store.schema.state_dim > 0
    names = drawn_again(TASKS[task].factors) if task in TASKS else []
    varied = [store.meta(i)["id"] for i in range(len(store)) if store.meta(i).get("factors")]
    if not names or not known or varied:
        raise ConfigError(
            f"other looks of {source} ({task}, {len(varied)} varied episodes, "
            f"{'physics' if known else 'no'} states)",
            f"nominal episodes, with states, of {', '.join(t for t in TASKS if _looks(t))}",
            "leave this collection out",
        )
    shards = [n for n, positions in store.shards().items() if positions[0] < episodes]
    schema = replace(store.schema, config={**store.schema.config, KEY: number})
    job = _Job(source, root, number, tuple(names))
    fill(root, shards, job, "drawing", workers, lambda: open_dataset(root, schema))
    job.close()
    about = (
        f"Episodes of `{source.name}`, drawn again: {', '.join(names)} differ from episode to "
        "episode,\nwithin their training ranges. Nothing else does: states, actions, numbers and "
        "splits are\nthose of the originals."
    )
    atomic_write(root / "card.md", card(f"Data card: {task}, other looks ({number})", about))
    return root


def _looks(task: str) -> list[str]:
    return drawn_again(TASKS[task].factors)


@dataclass
class _Job:
    """What a process does: draw one shard after the other."""

    source: Path
    root: Path
    number: int
    names: tuple[str, ...]
    store: EpisodeReader | None = None
    env: GoalEnv | None = None

    def __call__(self, index: int) -> None:
        if self.store is None or self.env is None:
            self.store = open_episodes(self.source, verify=False)
            self.env = GoalEnv(self.store.schema.task, self.store.schema.image_size)
        positions = self.store.shards()[index]
        write_shard(self.root, index, [self._seen(self.env, self.store[i]) for i in positions])

    def _seen(self, env: GoalEnv, episode: Episode) -> Episode:
        assert self.store is not None  # opened by the caller
        rng = np.random.default_rng([STREAM, self.number, episode.id])
        factors = draw(env.task.factors, list(self.names), rng)
        rows = episode.states[:: self.store.schema.frame_every]
        options = [{"state": row, "factors": factors} for row in rows]
        frames = np.stack([env.reset(options=o)[0]["image"] for o in options])
        told = {"factors": factors, SOURCE: digest(episode.states)}
        return replace(episode, frames=frames, meta={**episode.meta, **told})

    def close(self) -> None:
        """Free the scene, where this process drew."""
        if self.env is not None:
            self.env.close()
