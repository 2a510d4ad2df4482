"""Goals in words: aligned with a world model's latents where that has not been done yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import model, scene
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.storage.provenance import MANIFEST, read_manifest, storage_root
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.language.goals import TextGoals

SCENES, SENTENCES = 2000, 4  # pictures to choose from; sentences for each in training
PICTURES = 8  # of which any will do as the goal


def speaker(settings: Settings) -> Any:
    """What can be said of the task's scenes (``sim.captions.Speaker``)."""
    return locate("sim.captions.Speaker")(locate("sim.tasks.TASKS")[settings.task.name]())


def text_goals(session: Session) -> TextGoals:
    """Sentences aligned with the model to evaluate; made if missing.

    Raises:
        ConfigError: a model that gives no latents, or the extra ``language`` is not installed.
    """
    from robot_wm.language.goals import TextGoals

    settings = session.settings
    folders = model(session, settings.weights)
    digest = read_manifest(folders[0], "world_model", verify=False)["sha256"]
    folder = storage_root() / "language" / f"{settings.task.name}-{digest[:16]}"
    if (folder / MANIFEST).is_file():
        return TextGoals.load(folder)
    say(f"aligning sentences with latents of {settings.task.name} into {folder}")
    return _align(settings, folders, digest, folder)


def _align(settings: Settings, folders: tuple[Path, Path], digest: str, out: Path) -> TextGoals:
    from robot_wm.language.alignment import AlignConfig, EmbedsFrames
    from robot_wm.language.goals import align
    from robot_wm.world_models.base import load_world_model

    loaded = load_world_model(*folders)
    if not isinstance(loaded, EmbedsFrames):
        raise ConfigError(
            f"goals in words for a {type(loaded).__name__}, which gives no latents",
            "a model with `embed_frames` (robot_wm.language.alignment.EmbedsFrames)",
            "order a picture or a pose",
        )  # fmt: skip
    env = scene(settings.task.name, settings.image_size)
    try:
        found = locate("sim.captions.scenes")(env, SCENES, settings.seed)
    finally:
        env.close()
    sentences, said = told(speaker(settings), found["true"], np.random.default_rng(settings.seed))
    parents, facts = {"world_model": digest}, {"task": settings.task.name}
    config = AlignConfig(seed=settings.seed)
    return align(
        config, loaded, found["frames"], found["true"], sentences, said, parents, facts, out
    )


def told(
    speaks: Any, true: np.ndarray, rng: np.random.Generator
) -> tuple[list[list[str]], np.ndarray]:
    """Sentences true of each scene, and what they say, int ``[N, SENTENCES, 2]``."""
    meanings = speaks.trained_meanings()
    sentences, said = list[list[str]](), []
    for row in true:
        fitting = [m for m in meanings if m.holds(row[None])[0]]
        chosen = [fitting[int(rng.integers(len(fitting)))] for _ in range(SENTENCES)]
        sentences.append([speaks.say(meaning, rng) for meaning in chosen])
        said.append([(meaning.place, meaning.way) for meaning in chosen])
    return sentences, np.array(said)
