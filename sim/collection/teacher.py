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

import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.data.lessons import Lesson, open_lessons, write_lessons
from robot_wm.data.shards import fill
from sim.collection.questions import Asker, Question
from sim.collection.teacher_config import TeacherConfig
from sim.env import GoalEnv
from sim.policies.base import Policy
from sim.policies.registry import make_policy

DISTURBED = 0.4  # standard deviation of a disturbed block's constant offset
AFTER = 8  # control steps that a way goes on after its end


def answer(
    question: Question, config: TeacherConfig, env: GoalEnv, rng: np.random.Generator
) -> list[Lesson]:
    """The quickest ways to the goal, none where no way reaches it."""
    env.draw_images = False
    *_, info = env.reset(options={"state": question.goal})
    goal, budget, ways = np.array(info["pose"]), config.budget, list[Lesson]()
    for k in range(config.ways):
        expert = make_policy(config.task, "expert")
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
    expert: Policy,
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
    offset, shaken = np.zeros(env.spec.control_dim), False
    while step < budget if end is None else step < end + AFTER:
        if step % config.block == 0:
            shaken = bool(rng.random() < disturbance)
            offset = np.zeros(env.spec.control_dim)
            if shaken:
                offset = DISTURBED * rng.standard_normal(env.spec.control_dim)
        wanted = np.clip(expert.act(info["pose"]) + offset, -1, 1)
        action = env.task.clip_to_workspace(info["pose"], wanted).astype(np.float32)
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
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    job = _Job(config, Path(root))
    fill(
        job.root, range(shards), job, "teaching", workers,
        lambda: open_lessons(root, values, TeacherConfig),
    )  # fmt: skip
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
        for _ in range(questions := config.questions_per_shard):
            lessons += answer(asker.ask(rng), config, env, rng)
        if not lessons:
            raise DataError(
                f"{questions} questions without an answer", "some", "raise `budget` or `ways`"
            )
        write_lessons(self.root, index, lessons, questions)


def pictures(env: GoalEnv, states: np.ndarray) -> Iterator[np.ndarray]:
    """Image of every state ``[N, S]`` in turn."""
    for state in states:
        env.draw_images = False
        env.reset(options={"state": np.asarray(state, np.float64)})
        env.draw_images = True
        yield env.render()
