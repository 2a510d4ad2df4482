"""Parallel, resumable collection: a shard is a pure function of the configuration and its index.

A killed run leaves whole shards and, at worst, a temporary folder; collecting again fills the
gaps and ends with exactly the bytes of an uninterrupted run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from robot_wm.core.aliases import stored
from robot_wm.core.config import Count, NonNegative, Seed, Within, check_fields
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Sides, Size, spelled
from robot_wm.core.storage.atomic_io import atomic_write
from robot_wm.core.storage.markdown import card, table
from robot_wm.data.episodes import Episode, Recording, Schema
from robot_wm.data.formats.native import open_dataset, write_shard
from robot_wm.data.shards import fill
from sim.env import GoalEnv
from sim.policies.registry import make_policy
from sim.randomization import check_names
from sim.tasks import TASKS


@dataclass(frozen=True)
class Mix:
    """One ingredient of a collection: a behaviour, its share and its noise levels.

    Every episode draws one of the levels.
    """

    policy: str
    share: NonNegative
    noise: tuple[NonNegative, ...] = (0.0,)

    def __post_init__(self) -> None:
        check_fields(self, "task.mix")
        if not self.noise:
            raise ConfigError("task.mix.noise = []", "one level or more", "name one, e.g. [0.0]")


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.

    Attributes:
        task: registry name of the task.
        collection: name of this collection; part of the split hash.
        episodes: how many in all (rounded up to whole shards).
        steps: control steps per episode.
        mix: behaviours with their shares.
        variation: factor names drawn per episode; ``("all",)`` draws every factor.
        image_size: of the stored images [px], a number or (height, width).
        frame_every: control steps between two stored frames.
        seed: root of every random stream.
        episodes_per_shard: unit of atomic writing and of parallel work.
        workers: processes; does not influence the data.
    """

    task: str
    collection: str
    episodes: Count
    steps: Count
    mix: tuple[Mix, ...]
    variation: tuple[str, ...] = ()
    image_size: Annotated[Size, Sides(8, 1024)] = 64
    frame_every: Count = 5
    seed: Seed = 0
    episodes_per_shard: Count = 50
    workers: Annotated[int, Within(1, 1024)] = 2

    def __post_init__(self) -> None:
        check_fields(self, "collect")
        shares = sum(part.share for part in self.mix)
        if self.steps < self.frame_every or not shares > 0:
            raise ConfigError(
                f"episodes of {self.steps} steps, {len(self.mix)} behaviours with shares of "
                f"{shares:g} in all",
                f"at least {self.frame_every} steps (collect.frame_every) and a share above 0",
                "raise task.steps or the shares of task.mix",
            )
        for part in self.mix:
            make_policy(self.task, part.policy)
        if tuple(self.variation) != ("all",):
            check_names(TASKS[self.task].factors, list(self.variation))


def stable(config: CollectConfig) -> dict[str, Any]:
    """What decides every byte of a shard, as plain JSON types.

    ``episodes`` and ``workers`` are left out, so a collection can grow.
    """
    values = {
        k: v
        for k, v in stored("collect", asdict(config)).items()
        if k not in ("episodes", "workers")
    }
    values["mix"] = [{**part, "noise": list(part["noise"])} for part in values["mix"]]
    size = config.image_size
    values["image_size"] = list(size) if isinstance(size, tuple) else size
    return {**values, "variation": list(config.variation)}


def schema_of(config: CollectConfig, env: GoalEnv) -> Schema:
    """The schema that this configuration writes."""
    _, info = env.reset(seed=0)
    return Schema(
        task=config.task,
        collection=config.collection,
        image_size=env.spec.image_size,
        frame_every=config.frame_every,
        control_dt=env.spec.control_dt,
        control_low=env.spec.control_low,
        control_high=env.spec.control_high,
        pose_names=env.spec.pose_names,
        state_dim=len(info["state"]),
        proprio_dim=env.spec.proprio_dim,
        seed=config.seed,
        episodes_per_shard=config.episodes_per_shard,
        config=stable(config),
    )


def record(env: GoalEnv, config: CollectConfig, episode_id: int) -> Episode:
    """Run one episode; its random streams depend on the seed and its id only."""
    rng = np.random.default_rng([config.seed, episode_id])
    shares = np.array([part.share for part in config.mix])
    part = config.mix[int(rng.choice(len(shares), p=shares / shares.sum()))]
    noise = float(rng.choice(part.noise))
    policy = make_policy(config.task, part.policy, noise)
    seed = int(rng.integers(2**31))
    env.draw_images = True
    obs, info = env.reset(seed=seed, options={"variation": list(config.variation)})
    policy.reset(rng, factors=info["factors"])
    recording = Recording(obs, info, config.frame_every)
    for step in range(1, config.steps + 1):
        action = policy.act(info["pose"])
        env.draw_images = step % config.frame_every == 0
        obs, *_, info = env.step(action)
        recording.add(action, obs, info)
    meta = {"seed": seed, "policy": part.policy, "noise": noise, "factors": info["factors"]}
    return recording.episode(episode_id, meta)


@dataclass
class _Job:
    """What a process does: record and write one shard after the other."""

    root: Path
    config: CollectConfig
    env: GoalEnv | None = None

    def __call__(self, index: int) -> None:
        if self.env is None:
            self.env = GoalEnv(self.config.task, self.config.image_size)
        per = self.config.episodes_per_shard
        episodes = [record(self.env, self.config, index * per + i) for i in range(per)]
        write_shard(self.root, index, episodes)


def collect(config: CollectConfig, root: Path) -> Path:
    """Collect into ``root``; shards that exist are kept.

    Raises:
        DataError: ``root`` holds a data set of another configuration.
        StorageError: the disk is full, whole shards stay; or another process collects there.
        RobotWMError: a worker process died; whole shards stay.
    """
    env = GoalEnv(config.task, config.image_size, draw_images=False)
    job, shards = _Job(root, config), range(-(-config.episodes // config.episodes_per_shard))
    schema = schema_of(config, env)
    fill(root, shards, job, "collecting", config.workers, lambda: open_dataset(root, schema))
    if job.env is not None:
        job.env.close()
    atomic_write(root / "card.md", data_card(config))
    return root


def data_card(config: CollectConfig) -> str:
    """What the episodes are, for people."""
    size, every = spelled(config.image_size), config.frame_every
    mix = [[m.policy, f"{m.share:g}", str(list(m.noise))] for m in config.mix]
    return card(
        f"Data card: {config.task}/{config.collection}",
        "Simulated with MuJoCo by `robot-wm collect`; no people, no licences but this project's.",
        [
            f"{config.episodes} episodes of {config.steps} control steps, seed {config.seed}",
            f"one {size} RGB frame every {every} steps; full\n  physics state, pose, "
            "proprioception and action at every step",
            f"variation drawn per episode: {', '.join(config.variation) or 'none (nominal scene)'}",
            "split by episode from a stable hash: 85 % train, 5 % validation, 10 % test",
        ],
        table(["behaviour", "share", "noise levels"], mix),
    )
