"""``robot-wm reach``: order a goal picture and watch the robot make the world look like it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_wm.commands.agents import METHODS, recipe
from robot_wm.commands.evaluate import environment, needed_model, sources_of
from robot_wm.commands.pictures import pictured
from robot_wm.commands.settings import Settings
from robot_wm.errors import ConfigError
from robot_wm.manifest import atomic_write

if TYPE_CHECKING:
    from robot_wm.cli import Session

Told = dict[str, np.ndarray]


def run(session: Session) -> int:
    """One episode from a random start; print how near it came and where the pictures are.

    Raises:
        ConfigError: a method that does not plan from pixels, or two goals.
        InputError: a goal that the scene cannot take, or a file that is no picture.
    """
    settings = session.settings
    method, asked = settings.method[0], settings.reach
    if not METHODS[method].model or METHODS[method].inputs != "pixels":
        able = [n for n, m in METHODS.items() if m.model and m.inputs == "pixels"]
        raise ConfigError(f"method {method!r}", ", ".join(able), "choose one, e.g. method=onnx")
    env = environment(settings)()
    try:
        told, pose = goal_of(settings, env)
        agent = recipe(settings, method, sources_of(session, method, needed_model(session)))(
            env.spec
        )
        obs, info = env.reset(seed=asked.seed)
        agent.reset(told, asked.seed)
        frames, poses = [obs["image"]], [info["pose"]]
        for _ in range(asked.steps):
            obs, *_, info = env.step(agent.act({"image": obs["image"]}))
            frames.append(obs["image"])
            poses.append(info["pose"])
        if pose is not None:
            print(verdict(env, settings, np.stack(poses), pose))
    finally:
        env.close()
    out = settings.run_path("reach")
    print(write(out, settings.task.name, told, frames, env.spec.control_dt))
    return 0


def goal_of(settings: Settings, env: Any) -> tuple[Told, np.ndarray | None]:
    """Goal observation, and the pose in it where that is known."""
    from robot_wm.episodes import EpisodeStore
    from sim.goals import ALTERNATIVES, edited, only, recorded

    asked = settings.reach
    if sum(map(bool, (asked.image, asked.pose, asked.recording))) > 1:
        raise ConfigError(
            "more than one of reach.image, reach.pose and reach.recording", "one of them",
            "leave the others out",
        )  # fmt: skip
    if asked.only and (asked.image or asked.recording):
        raise ConfigError(
            "reach.only with a picture", "a goal made in the scene", "use reach.pose or none"
        )
    if asked.image:
        return {"image": pictured(Path(asked.image), settings.image_size)}, None
    if asked.recording:
        shown = recorded(
            EpisodeStore(Path(asked.recording).expanduser()), asked.episode, asked.every
        )
        return {"image": shown[-1], "via": shown[:-1]}, None
    env.reset(seed=asked.seed + 1)
    image, pose = edited(env, asked.pose)
    if asked.only:
        image = only(env, asked.only, ALTERNATIVES, np.random.default_rng(asked.seed))
    return {"image": image}, pose


def verdict(env: Any, settings: Settings, poses: np.ndarray, goal: np.ndarray) -> str:
    """In words, how the episode went by the true poses, which the planner never saw."""
    family = "strict" if settings.reach.only else "official"
    hits = np.flatnonzero(env.success(family, poses, goal))
    reached = f"reached after {hits[0] + 1} control steps" if len(hits) else "not reached"
    names = [name for name in env.spec.pose_names if "/s]" not in name]
    ends = ", ".join(
        f"{name} {end:.3f} (goal {wanted:.3f})"
        for name, end, wanted in zip(names, poses[-1], goal, strict=False)
    )
    return f"{family} goal {reached}; at the end {ends}"


def write(out: Path, task: str, told: Told, frames: list[np.ndarray], dt: float) -> Path:
    """The goal beside what happened as ``out/<task>.webp``, the goal as ``out/<task>.png``."""
    from planning.drawing import animation, png

    goal = told["image"] if told["image"].ndim == 3 else told["image"][0]
    path = out / f"{task}.webp"
    atomic_write(out / f"{task}.png", png(goal))
    atomic_write(path, animation([np.hstack([goal, frame]) for frame in frames], dt))
    return path
