"""The teacher: from many states to many goals, the best way that the scripted expert finds.

Privileged and for data alone. A question is a state and a goal; the expert is led from one to the
other in several ways (tempo, way round the block, price of walking, chance), without pictures, and
the quickest way that really reaches the goal, by every predicate asked for, becomes a *lesson*: its
states, the action that leaves each, and how far it still is. Some ways are disturbed for a block at
a time, so that there are answers beside the ideal line too; what was done then is never a label.
See ``robot_wm.data.lessons`` for the format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.data.episodes import Episode
from robot_wm.data.formats.base import EpisodeReader, open_episodes
from robot_wm.data.lessons import Lesson, open_lessons, write_lessons
from robot_wm.data.shards import fill
from sim.env import GoalEnv
from sim.policies.base import Behaviour
from sim.policies.registry import make_behaviour

KINDS = ("ahead", "elsewhere", "correction", "visited")
DISTURBED = 0.4  # standard deviation of a disturbed block's constant offset
AFTER = 8  # control steps that a way goes on after its end
TRIES = 50  # draws of a question before giving up


@dataclass(frozen=True)
class TeacherConfig:
    """What is asked and how it is answered.

    Attributes:
        task: registry name; its scripted expert is the teacher.
        recorded: data sets from whose training episodes states and goals are drawn.
        visited: data sets of an agent's own episodes (``planning.evaluation.rollout_collection``),
            asked about with the goals that it pursued; they name pairs of the first data set in
            ``recorded``.
        shares: how often each kind of question is asked, see ``KINDS``: goals ``ahead`` in the same
            episode, ``elsewhere`` in another, ``correction`` of a block that is nearly right, and
            states ``visited`` by an agent.
        offset: control steps from a state to a goal ahead.
        budget: control steps in which an answer must reach its goal.
        ways: ways tried per question.
        kept: at most so many of them become lessons.
        slack: control steps by which a kept way may be longer than the quickest.
        disturbed: share of the ways in which some blocks are disturbed.
        disturbance: share of disturbed blocks in those.
        families: predicates that a way must satisfy, each at some time.
        block: control steps of a block.
        seed: root of every random stream.
        questions_per_shard: unit of atomic writing and of parallel work.
    """

    task: str
    recorded: tuple[str, ...]
    visited: tuple[str, ...] = ()
    shares: tuple[float, ...] = (0.5, 0.2, 0.3, 0.0)
    offset: int = 25
    budget: int = 60
    ways: int = 16
    kept: int = 2
    slack: int = 4
    disturbed: float = 0.25
    disturbance: float = 0.25
    families: tuple[str, ...] = ("official", "strict")
    block: int = 5
    seed: int = 0
    questions_per_shard: int = 100

    def __post_init__(self) -> None:
        make_behaviour(self.task, "expert")
        if (
            not self.recorded
            or len(self.shares) != len(KINDS)
            or min(self.shares) < 0
            or sum(self.shares) <= 0
            or (self.shares[3] > 0 and not self.visited)
            or min(self.ways, self.kept, self.questions_per_shard, self.block) < 1
            or self.budget < self.block
        ):
            raise ConfigError(
                f"{self}",
                f"recorded episodes, a share for each of {KINDS} (of visited states only where "
                "there are such), counts of 1 or more, a budget of a block or more",
                "correct the teacher's configuration",
            )


class Question(NamedTuple):
    """A state, the states and actions of the block before it (or none), and a goal."""

    kind: str
    before: np.ndarray
    actions: np.ndarray
    start: np.ndarray
    goal: np.ndarray


class Asker:
    """Draws questions; a pure function of the configuration and a generator."""

    def __init__(self, config: TeacherConfig, env: GoalEnv) -> None:
        self.config, self.env = config, env
        self.stores = [open_episodes(Path(path)) for path in config.recorded]
        self.places = [(s, i) for s in self.stores for i in s.indices("train")]
        self.visited = [
            (s, i) for s in map(open_episodes, map(Path, config.visited)) for i in range(len(s))
        ]
        first = self.stores[0]
        self.by_id = {first.meta(i)["id"]: i for i in range(len(first))}
        if not self.places:
            raise DataError("no training episode", "some episodes", "collect more data")

    def ask(self, rng: np.random.Generator) -> Question:
        """The next question."""
        shares = np.array(self.config.shares)
        kind = KINDS[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
        question: Question = getattr(self, f"_{kind}")(rng)
        return question

    def _ahead(self, rng: np.random.Generator) -> Question:
        offset = self.config.offset
        for _ in range(TRIES):
            episode = self._episode(self.places, rng)
            if len(episode) < offset:
                continue
            t = self._row(len(episode) - offset, rng)
            poses = np.asarray(episode.poses[[t, t + offset]], np.float64)
            # Most starts that would do as they are teach nothing.
            if rng.random() < 0.2 or self.env.distance(poses[:1], poses[1])[0] > 0.02:
                return self._from(episode, t, episode.states[t + offset], "ahead")
        raise DataError(f"no goal {offset} steps ahead", "longer episodes", "collect them")

    def _elsewhere(self, rng: np.random.Generator) -> Question:
        """The nearest of a few states of other episodes: goals on no recorded way."""
        episode = self._episode(self.places, rng)
        t = self._row(len(episode), rng)
        pose, found = np.asarray(episode.poses[t], np.float64), []
        for _ in range(int(rng.integers(4, 40))):
            other = self._episode(self.places, rng)
            u = int(rng.integers(len(other) + 1))
            found.append((float(self.env.distance(other.poses[u][None], pose)[0]), other.states[u]))
        return self._from(episode, t, min(found, key=lambda pair: pair[0])[1], "elsewhere")

    def _correction(self, rng: np.random.Generator) -> Question:
        """A recorded scene as the goal of the same one with its movable parts a little off."""
        for _ in range(TRIES):
            episode = self._episode(self.places, rng)
            u = int(rng.integers(len(episode) + 1))
            goal = np.asarray(episode.states[u], np.float64)
            start = disturbed(self.env, np.asarray(episode.poses[u], np.float64), rng)
            if start is not None:
                past = np.zeros((0, len(start))), np.zeros((0, 2), np.float32)
                return Question("correction", *past, start, goal)
        raise DataError("no room for corrections", "scenes with free places", "ask none of them")

    def _visited(self, rng: np.random.Generator) -> Question:
        """Where an agent was on its way, with the goal it pursued."""
        episode = self._episode(self.visited, rng)
        name = str(episode.meta["pair"])  # e<episode>_t<row>, see planning.evaluation.sample_pairs
        source = self.stores[0][self.by_id[int(name[1:7])]]
        goal = source.states[int(name.split("_t")[1]) + self.config.offset]
        return self._from(episode, self._row(len(episode), rng), goal, "visited")

    def _episode(self, places: Sequence[tuple[EpisodeReader, int]], rng: Any) -> Episode:
        store, index = places[int(rng.integers(len(places)))]
        return store[index]

    def _row(self, last: int, rng: np.random.Generator) -> int:
        """A row; half of them at block boundaries, where pairs begin."""
        row, block = int(rng.integers(last + 1)), self.config.block
        return row - row % block if rng.random() < 0.5 else row

    def _from(self, episode: Episode, t: int, goal: np.ndarray, kind: str) -> Question:
        first = t - self.config.block if t >= self.config.block else t
        states, actions = np.array(episode.states[first : t + 1]), episode.actions[first:t]
        return Question(kind, states[:-1], np.array(actions), states[-1], np.array(goal))


def disturbed(env: GoalEnv, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """State, at rest, of a scene near ``pose``: other places by up to 50 mm, angles by up to 40°.

    The first body (what the robot moves) may be anywhere near. None where bodies would overlap.
    """
    names, near = env.task.pose_names, pose.copy()
    scale = float(rng.random()) ** 1.5
    for i, name in enumerate(names):
        if "/s]" in name:
            continue
        if i < 2:
            near[i] += rng.normal() * (0.02 if rng.random() < 0.3 else 0.08)
        else:
            near[i] += rng.normal() * scale * (0.025 if "[m]" in name else 0.35)
    mujoco.mj_resetData(env.model, env.data)  # nothing of the scene before: velocities, controls
    env.task.put(env.data, near)
    mujoco.mj_forward(env.model, env.data)
    placed = env.task.pose(env.data.qpos, env.data.qvel)
    inside = [0.02 < placed[i] < env.task.view - 0.02 for i, n in enumerate(names) if "[m]" in n]
    if (env.data.contact.dist < -0.001).any() or not all(inside):
        return None
    return env.state()


def answer(
    question: Question, config: TeacherConfig, env: GoalEnv, rng: np.random.Generator
) -> list[Lesson]:
    """The quickest ways to the goal, none where no way reaches it."""
    env.draw_images = False
    *_, info = env.reset(options={"state": question.goal})
    goal, budget, ways = np.array(info["pose"]), config.budget, list[Lesson]()
    for k in range(config.ways):
        expert = make_behaviour(config.task, "expert")
        expert.reset(rng.spawn(1)[0], goal=goal)
        if k:
            expert.vary(rng)
        shaken = k and rng.random() < config.disturbed
        disturbance = config.disturbance if shaken else 0.0
        way = _walk(question, goal, expert, config, env, rng, disturbance, budget)
        if way is not None:
            ways.append(way)
            budget = min(budget, way.steps + config.slack)  # longer ones would not be kept
    ways.sort(key=lambda way: way.steps)
    return [w for w in ways if w.steps <= ways[0].steps + config.slack][: config.kept]


def _walk(
    question: Question,
    goal: np.ndarray,
    expert: Behaviour,
    config: TeacherConfig,
    env: GoalEnv,
    rng: np.random.Generator,
    disturbance: float,
    budget: int,
) -> Lesson | None:
    """Lead the expert to the goal, and a little longer; None if it does not get there in time."""
    *_, info = env.reset(options={"state": question.start})
    past = len(question.actions)
    states, actions, clean = list(question.before), list(question.actions), [False] * past
    poses, end, step = [np.array(info["pose"])], None, 0
    offset, shaken = np.zeros(2), False
    while step < budget if end is None else step < end + AFTER:
        if step % config.block == 0:
            shaken = bool(rng.random() < disturbance)
            offset = DISTURBED * rng.standard_normal(2) if shaken else np.zeros(2)
        wanted = np.clip(expert.act(info["pose"]) + offset, -1, 1)
        action = env.task.confine(info["pose"], wanted).astype(np.float32)
        states.append(info["state"])
        actions.append(action)
        clean.append(not shaken)
        *_, info = env.step(action)
        step += 1
        if end is None:
            poses.append(np.array(info["pose"]))
            end = step if _reached(env, poses, goal, config.families) else None
    if end is None:
        return None
    togo = np.maximum(0, end + past - np.arange(len(states)))
    return Lesson(
        question.kind, past, np.stack(states), np.stack(actions).astype(np.float32),
        np.array(clean), togo.astype(np.int16), question.goal,
    )  # fmt: skip


def _reached(
    env: GoalEnv, poses: list[np.ndarray], goal: np.ndarray, families: Sequence[str]
) -> bool:
    """Whether the last pose is near enough to look, and each predicate was satisfied by now."""
    if env.distance(poses[-1][None], goal)[0] > 0.08:
        return False
    trace = np.stack(poses)
    return all(bool(env.success(family, trace, goal).any()) for family in families)


def teach(config: TeacherConfig, root: Path, shards: int, workers: int = 1) -> Path:
    """Answer ``shards`` shards of questions into ``root``; shards that exist are kept.

    Raises:
        DataError: ``root`` holds lessons of another configuration.
        StorageError: another process teaches into ``root``, or the disk is full.
        RobotWMError: a worker process died; whole shards stay.
    """
    told = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    job = _Job(config, Path(root))
    fill(job.root, range(shards), job, "teaching", workers, lambda: open_lessons(root, told))
    return root


@dataclass
class _Job:
    """What a process does: one shard after the other; scene and data are opened once."""

    config: TeacherConfig
    root: Path
    opened: tuple[GoalEnv, Asker] | None = None

    def __call__(self, index: int) -> None:
        if self.opened is None:
            env = GoalEnv(self.config.task, draw_images=False)
            env.reset(seed=0)
            self.opened = env, Asker(self.config, env)
        (env, asker), config = self.opened, self.config
        rng, lessons = np.random.default_rng([config.seed, index]), list[Lesson]()
        for _ in range(asked := config.questions_per_shard):
            lessons += answer(asker.ask(rng), config, env, rng)
        if not lessons:
            raise DataError(
                f"{asked} questions without an answer", "some", "raise `budget` or `ways`"
            )
        write_lessons(self.root, index, lessons, asked)


def pictures(env: GoalEnv, states: np.ndarray) -> Iterator[np.ndarray]:
    """Image of every state ``[N, S]`` in turn."""
    for state in states:
        env.draw_images = False
        env.reset(options={"state": np.asarray(state, np.float64)})
        env.draw_images = True
        yield env.render()
