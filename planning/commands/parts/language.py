"""Goals in words: aligned with a world model's latents where that has not been done yet."""

from __future__ import annotations

from functools import cache
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

SCENES, SENTENCES = 2000, 8  # pictures to choose from; sentences for each in training
ASKED = 400  # sentences of each kind, to measure what is understood
# Of sentences: as in training, or else in forms, of meanings together, of words it never had.
KINDS = ("as trained", "new forms", "new combinations", "new words")
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
    folder = aligned_path(settings)
    if (folder / MANIFEST).is_file():
        return TextGoals.load(folder)
    say(f"aligning sentences with latents of {settings.task.name} into {folder}")
    return _align(settings, folders, folder)


def aligned_path(settings: Settings) -> Path:
    """Where sentences lie that are aligned with the model to evaluate, and with these words."""
    words = locate("sim.captions.vocabulary_sha256")()
    name = f"{settings.task.name}-{_digest(settings.model_path(settings.weights))[:16]}-{words[:8]}"
    return storage_root() / "language" / name


def _digest(folder: Path) -> str:
    return str(read_manifest(folder, "world_model", verify=False)["sha256"])


def goal_in_words(env: Any, pair: Any, seed: int, *, folder: str) -> dict[str, np.ndarray]:
    """Pictures that a sentence about a pair's goal means; said in a form that is never trained on.

    Args:
        folder: what :func:`text_goals` made.
    """
    speaks = locate("sim.captions.Speaker")(env.task)
    meaning = speaks.meaning(np.asarray(pair.goal_pose))
    sentence = speaks.say(meaning, np.random.default_rng(seed), new_form=True)
    return {"image": _loaded(folder).pictures(sentence, PICTURES)}


@cache
def _loaded(folder: str) -> TextGoals:
    from robot_wm.language.goals import TextGoals

    return TextGoals.load(Path(folder))


def _align(settings: Settings, folders: tuple[Path, Path], out: Path) -> TextGoals:
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
    speaks, rng = speaker(settings), np.random.default_rng(settings.seed)
    sentences, said = told(speaks, found["true"], rng)
    parents, facts = {"world_model": _digest(folders[0])}, {"task": settings.task.name}
    config = AlignConfig(seed=settings.seed)
    goals = align(
        config, loaded, found["frames"], found["true"], sentences, said, parents, facts, out,
        {kind: asked(speaks, rng, kind) for kind in KINDS},
    )  # fmt: skip
    say((out / "card.md").read_text(encoding="utf-8"))
    return goals


def asked(speaks: Any, rng: np.random.Generator, kind: str) -> tuple[list[str], np.ndarray]:
    """Sentences of one of :data:`KINDS`, and what they say, int ``[ASKED, 2]``."""
    known = speaks.trained_meanings()
    new = [meaning for meaning in speaks.meanings() if meaning not in known]
    meanings = new or known if kind == "new combinations" else known
    chosen = [meanings[int(rng.integers(len(meanings)))] for _ in range(ASKED)]
    options = {"new_form": kind == "new forms", "new_words": kind == "new words"}
    sentences = [speaks.say(meaning, rng, **options) for meaning in chosen]
    return sentences, np.array([(meaning.place, meaning.way) for meaning in chosen])


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
