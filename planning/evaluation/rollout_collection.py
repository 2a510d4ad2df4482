"""Episodes of an agent at work, as training data: what happens where it acts.

The agent pursues goal images of *training* episodes, now and then with noise on its actions, and
everything is recorded whether it arrives or not: in hindsight every frame is a goal that was
reached. Held-out pairs never enter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from planning.evaluation.config import EvaluateConfig, MakeAgent, MakeEnv
from planning.evaluation.evaluator import observation, planner_seed, restore
from planning.evaluation.goal_pairs import PairList
from robot_wm.core.config import Count, NonNegative, Seed, Within, check_fields
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import spelled
from robot_wm.core.protocols import Agent, Environment
from robot_wm.core.storage.atomic_io import atomic_write
from robot_wm.core.storage.markdown import card
from robot_wm.data.episodes import AGENT, Episode, Recording, Schema
from robot_wm.data.formats.native import open_dataset, write_shard
from robot_wm.data.shards import fill


@dataclass(frozen=True)
class PracticeConfig:
    """How an agent practises.

    Attributes:
        episodes: one for each of as many pairs; whole shards.
        noise: standard deviations added to every control action; an episode draws one.
        episodes_per_shard: unit of atomic writing and of parallel work.
        seed: of the noise and of the planner.
        workers: processes; does not influence the data.
    """

    episodes: Count = 1000
    noise: tuple[NonNegative, ...] = (0.0, 0.1, 0.2)
    episodes_per_shard: Count = 50
    seed: Seed = 0
    workers: Annotated[int, Within(1, 1024)] = 1

    def __post_init__(self) -> None:
        check_fields(self, "improve")
        if not self.noise:
            raise ConfigError("improve.noise = []", "one level or more", "name one, e.g. [0.0]")


def collect_rollouts(
    config: PracticeConfig,
    pairs: PairList,
    like: Schema,
    collection: str,
    about: dict[str, Any],
    root: Path,
    make_env: MakeEnv,
    make_agent: MakeAgent,
) -> Path:
    """Record into ``root``; shards that exist are kept, so an interrupted practice goes on.

    Args:
        pairs: of the training split, as many as episodes; ``budget`` is an episode's length.
        like: schema of the collection the pairs come from.
        collection: name of the new one.
        about: what made it (weights, planner), kept in the schema.
        make_env, make_agent: with several workers recipes
            (:func:`robot_wm.core.instantiate.deferred`).

    Raises:
        ConfigError: pairs of a held-out split, or another number of them.
        DataError: ``root`` holds episodes of another agent or configuration.
        StorageError: the disk is full, or another process practises into ``root``.
    """
    if pairs.split != "train" or len(pairs.pairs) != config.episodes:
        raise ConfigError(
            f"{len(pairs.pairs)} pairs of the {pairs.split} split for {config.episodes} episodes",
            "one pair of the train split for each",
            "draw them with PairsConfig(split='train', count=episodes)",
        )
    described = {"seed": config.seed, "noise": list(config.noise), "pairs": pairs.sha256, **about}
    per = config.episodes_per_shard
    schema = replace(
        like, collection=collection, seed=config.seed, episodes_per_shard=per, config=described
    )
    job = _Job(config, pairs, schema, root, make_env, make_agent)
    shards = range(-(-config.episodes // per))
    fill(root, shards, job, "practising", config.workers, lambda: open_dataset(root, schema))
    atomic_write(root / "card.md", data_card(config, schema))
    return root


@dataclass
class _Job:
    """What a process does: record and write one shard after the other."""

    config: PracticeConfig
    pairs: PairList
    schema: Schema
    root: Path
    make_env: MakeEnv
    make_agent: MakeAgent
    built: tuple[Environment, Agent] | None = None

    def __call__(self, index: int) -> None:
        if self.built is None:
            env = self.make_env()
            self.built = env, self.make_agent(env.spec)
        per = self.config.episodes_per_shard
        chosen = range(index * per, min((index + 1) * per, len(self.pairs.pairs)))
        write_shard(self.root, index, [self.record(i) for i in chosen])

    def record(self, index: int) -> Episode:
        """One pair's episode; a function of the configuration and the pair."""
        assert self.built is not None
        (env, agent), pair, every = self.built, self.pairs.pairs[index], self.schema.frame_every
        rng = np.random.default_rng([self.config.seed, index])
        noise = float(rng.choice(self.config.noise))
        episode_config = EvaluateConfig(f"practice/{self.pairs.task}", AGENT)
        goal, _ = restore(env, episode_config, pair, "goal")
        obs, info = restore(env, episode_config, pair, "start")
        seed = planner_seed(episode_config.row, pair.pair_id, self.config.seed)
        agent.reset(observation(goal, episode_config.inputs), seed)
        recording = Recording(obs, info, every)
        low, high = np.asarray(env.spec.control_low), np.asarray(env.spec.control_high)
        for _ in range(self.pairs.budget):
            wanted = agent.act(observation(obs, episode_config.inputs))
            action = np.clip(wanted + noise * rng.standard_normal(len(low)), low, high)
            action = action.astype(np.float32)
            obs, *_, info = env.step(action)
            recording.add(action, obs, info)
        meta = {"seed": seed, "policy": AGENT, "noise": noise, "factors": dict(pair.factors)}
        return recording.episode(index, {**meta, "pair": pair.pair_id})


def data_card(config: PracticeConfig, schema: Schema) -> str:
    """What the episodes are, for people."""
    size, every = spelled(schema.image_size), schema.frame_every
    return card(
        f"Data card: {schema.task}/{schema.collection}",
        "Recorded by `robot-wm self-improve` while a trained agent pursued goal images of training "
        "episodes in\nsimulation, whether it arrived or not; no people, no licences but this "
        "project's.",
        [
            f"{config.episodes} episodes, one {size} RGB frame every\n  {every} control "
            "steps; physics state, pose, proprioception and action at every step",
            *(f"{key}: {value}" for key, value in sorted(schema.config.items())),
        ],
    )
