"""``robot-wm reach-goal``: order a goal picture and watch the robot make the world look like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from planning.agent.checks import check_known
from planning.agent.registry import agent_recipe, names
from planning.commands.evaluate import environment, needed_model, sources_of
from planning.commands.parts.agents import agent_of, recipe
from planning.commands.parts.language import PICTURES, speaker, text_goals
from planning.commands.parts.pictures import pictured
from robot_wm.core.config import Natural, Seed, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.provenance import atomic_write

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


@dataclass(frozen=True)
class ReachSettings:
    """A goal to order; without text, image, pose or recording a random scene is the goal.

    Attributes:
        text: a sentence, e.g. ``move the T to the lower left, upside down``; it is true of several
            pictures, of which any will do.
        image: a picture file.
        pose: entries of the scene's pose to set in a random scene, e.g. ``{block_x: 0.3}``.
        recording: folder of a data set or a robot's log, whose episode ends at the goal.
        episode: which of its episodes.
        every: pictures of it to pass on the way, one per so many stored ones; 0 passes none.
        only: bodies that matter, see ``evaluate.only``.
        seed: of the start, and, one higher, of the random scene with the goal.
        steps: control steps to get there; the episode ends where the goal is reached.
    """

    text: str = ""
    image: str = ""
    pose: dict[str, float] = field(default_factory=dict)
    recording: str = ""
    episode: Natural = 0
    every: Natural = 0
    only: tuple[str, ...] = ()
    seed: Seed = 0
    steps: Annotated[int, Within(1, 100_000)] = 300


Told = dict[str, np.ndarray]


def run(session: Session) -> int:
    """One episode from a random start; say whether the goal was reached and where the pictures are.

    Returns:
        0 if the goal was reached, or if nobody can tell (a picture from elsewhere), 1 on a miss.

    Raises:
        ConfigError: a method that does not plan from pixels, or two goals.
        InputError: a goal that the scene cannot take, or a file that is no picture.
    """
    settings = session.settings
    method = settings.method[0]
    known = agent_of(settings, method)
    if not known.needs_model or known.inputs != "pixels":
        every = {name: agent_recipe(name) for name in names()}
        able = [n for n, a in every.items() if a.needs_model and a.inputs == "pixels"]
        raise ConfigError(f"method {method!r}", ", ".join(able), "choose one, e.g. method=onnx")
    env = environment(settings)()
    try:
        goal_observation, judge = goal_of(session, env)
        agent = recipe(settings, method, sources_of(session, method, needed_model(session)))(
            env.spec
        )
        # Exported planners can tell what they have never seen; what the scene drew is of the scene.
        if judge is None:
            check_known(agent, goal_observation["image"][None])
        frames, poses = drive(env, agent, goal_observation, judge, settings.reach)
        if judge is not None:
            print(verdict(env, judge, np.stack(poses)))
    finally:
        env.close()
    out = write(
        settings.run_path("reach"),
        settings.task.name,
        goal_observation,
        frames,
        env.spec.control_dt,
    )
    print(f"pictures: {out}")
    return 0 if judge is None or judge.hits(np.stack(poses)).any() else 1


@dataclass(frozen=True)
class Judge:
    """Who says whether a goal is reached, by the true poses, which the planner never sees.

    Attributes:
        hits: which steps satisfy it, bool ``[T]`` of poses ``[T+1, K]``.
        words: how it is called.
        goal: the pose ``[K]`` that is wanted, where it is one.
    """

    hits: Callable[[np.ndarray], np.ndarray]
    words: str
    goal: np.ndarray | None = None


def drive(
    env: Any, agent: Any, goal_observation: Told, judge: Judge | None, section: ReachSettings
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images and poses of an episode, which ends where the goal is reached.

    The robot keeps its target in the picture, as those do that make the data; the planner sees
    images alone.
    """
    obs, info = env.reset(seed=section.seed)
    agent.reset(goal_observation, section.seed)
    frames, poses = [obs["image"]], [info["pose"]]
    for _ in range(section.steps):
        action = env.task.clip_to_workspace(info["pose"], agent.act({"image": obs["image"]}))
        obs, *_, info = env.step(action)
        frames.append(obs["image"])
        poses.append(info["pose"])
        if judge is not None and judge.hits(np.stack(poses)).any():
            break
    return frames, poses


def goal_of(session: Session, env: Any) -> tuple[Told, Judge | None]:
    """Goal observation, and who judges it where somebody can."""
    from robot_wm.core.instantiate import locate
    from robot_wm.data.formats.base import open_episodes

    settings, section = session.settings, session.settings.reach
    if sum(map(bool, (section.text, section.image, section.pose, section.recording))) > 1:
        raise ConfigError(
            "more than one of reach.text, image, pose and recording", "one of them",
            "leave the others out",
        )  # fmt: skip
    if section.only and (section.text or section.image or section.recording):
        raise ConfigError(
            "reach.only with a picture or text",
            "a goal made in the scene",
            "use reach.pose or none",
        )
    if section.text:
        speaks = speaker(settings)
        meaning = speaks.understand(section.text)
        images = text_goals(session).pictures(section.text, PICTURES)
        return {"image": images}, Judge(lambda p: meaning.holds(speaks.true(p[1:])), "the sentence")
    if section.image:
        return {"image": pictured(Path(section.image), settings.image_size)}, None
    if section.recording:
        shown = locate("sim.goal_images.subgoals_from_demo")(
            open_episodes(Path(section.recording).expanduser()), section.episode, section.every
        )
        return {"image": shown[-1], "via": shown[:-1]}, None
    env.reset(seed=section.seed + 1)
    image, pose = locate("sim.goal_images.goal_from_pose")(env, section.pose)
    if section.only:
        count = locate("sim.goal_images.ALTERNATIVES")
        rng = np.random.default_rng(section.seed)
        image = locate("sim.goal_images.goal_free_bodies")(env, section.only, count, rng)
    family = "strict" if section.only else "official"  # strict asks for the block alone
    return {"image": image}, Judge(lambda p: env.success(family, p, pose), family, pose)


def verdict(env: Any, judge: Judge, poses: np.ndarray) -> str:
    """In words, how the episode went by the true poses, which the planner never saw."""
    hits = np.flatnonzero(judge.hits(poses))
    reached = f"REACHED after {hits[0] + 1}" if len(hits) else f"MISSED within {len(poses) - 1}"
    wanted = [""] * len(env.spec.pose)
    if judge.goal is not None:
        wanted = [f" (goal {value:.3f})" for value in judge.goal]
    ends = ", ".join(
        f"{entry.label} {end:.3f}{goal}"
        for entry, end, goal in zip(env.spec.pose, poses[-1], wanted, strict=True)
        if entry.kind != "velocity"
    )
    robot = next(iter(env.paths(poses).values()), np.zeros((len(poses), 0)))
    hidden = int(((robot < 0) | (robot > 1)).any(axis=1).sum())
    unseen = f"; the robot was out of the picture for {hidden} steps" if hidden else ""
    return f"{reached} control steps ({judge.words}); at the end {ends}{unseen}"


def write(
    out: Path, task: str, goal_observation: Told, frames: list[np.ndarray], dt: float
) -> Path:
    """The goal beside what happened as ``out/<task>.webp``, the goal as ``out/<task>.png``."""
    from planning.reporting.pictures import animation, png

    goal = (
        goal_observation["image"]
        if goal_observation["image"].ndim == 3
        else goal_observation["image"][0]
    )
    path = out / f"{task}.webp"
    atomic_write(out / f"{task}.png", png(goal))
    atomic_write(path, animation([np.hstack([goal, frame]) for frame in frames], dt))
    return path
