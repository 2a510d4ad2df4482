"""``robot-wm teach``: a scripted expert teaches the actor of a trained world model, in rounds.

The teacher answers questions from recorded states first, then, round by round, from the states that
the present agent visits on training pairs (DAgger, Ross et al. 2011, arXiv:1011.0686); the actor
learns from all answers so far. Encoder, latent, predictor and goal distance stay as they are. Every
round is judged on validation pairs. What exists is kept: an interrupted run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.commands.agents import recipe
from robot_wm.commands.evaluate import environment
from robot_wm.commands.improve import Folders, scored, table
from robot_wm.commands.settings import Settings
from robot_wm.commands.stages import dataset, drawn, latents, model, say
from robot_wm.manifest import MANIFEST, atomic_write, check_parent, read_manifest, storage_root

if TYPE_CHECKING:
    from robot_wm.cli import Session
    from robot_wm.jepa import JEPAWorldModel
    from robot_wm.taught import Recorded


def run(session: Session) -> int:
    """Run all rounds; print the table's path."""
    settings = session.settings
    first, encoder = model(session, settings.weights)
    pairs = drawn(settings, "validation", settings.teach.pairs)
    rows = scored(settings, pairs, settings.weights, (first, encoder), 0)
    current, lessons = first, list[Path]()
    for turn in range(settings.teach.rounds + 1):
        visited = [visits(settings, turn, (current, encoder))] if turn else []
        lessons.append(lesson_round(settings, turn, visited))
        current = _train(settings, turn, lessons, (current, encoder))
        rows += scored(settings, pairs, f"round{turn}", (current, encoder), turn)
    out, name = settings.run_path("teach"), settings.task.name
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    atomic_write(out / f"{name}.jsonl", lines)
    head = table(rows).split("\n", 3)[3]
    atomic_write(out / f"{name}.md", f"# A taught actor: {name}\n\nBy `robot-wm teach`.{head}")
    print(out / f"{name}.md")
    return 0


def visits(settings: Settings, turn: int, folders: Folders) -> Path:
    """Episodes of the present agent on training pairs, recorded where they are missing."""
    from planning.practice import PracticeConfig, practise
    from robot_wm.episodes import EpisodeStore

    section = settings.teach
    config = PracticeConfig(section.episodes, section.noise, 50, turn, settings.workers)
    like = EpisodeStore(dataset(settings, "nominal")).schema
    pairs = drawn(settings, "train", config.episodes)
    about = {
        "world_model": read_manifest(folders[0], "world_model", verify=False)["sha256"],
        "planner": asdict(settings.practice_planner),
    }
    collection = f"visited{turn}-{settings.name}"
    root = settings.dataset_path(settings.task.name, collection)
    say(f"visiting {config.episodes} goals of {settings.task.name} into {root}")
    maker = recipe(replace(settings, planner=settings.practice_planner), "jepa", folders)
    return practise(config, pairs, like, collection, about, root, environment(settings), maker)


def lesson_round(settings: Settings, turn: int, visited: Sequence[Path]) -> Path:
    """The teacher's answers of one round, found where they are missing."""
    from sim.teacher import TeacherConfig, teach

    section = settings.teach
    config = TeacherConfig(
        settings.task.name,
        (str(dataset(settings, "nominal")),),
        tuple(str(path) for path in visited),
        section.shares if visited else (*section.shares[:3], 0.0),
        offset=int(settings.pairs["offset"]),
        ways=section.ways,
        budget=section.budget,
        families=section.families,
        block=settings.collect.frame_every,
        seed=turn,
    )
    shards = -(-section.questions // config.questions_per_shard)
    root = storage_root() / "lessons" / f"{settings.task.name}-{settings.name}-{turn}"
    say(f"answering {section.questions} questions about {settings.task.name} into {root}")
    return teach(config, root, shards, settings.workers)


def _train(settings: Settings, turn: int, lessons: Sequence[Path], start: Folders) -> Path:
    """The actor of ``start``, taught by all lessons; kept if it exists.

    Raises:
        DataError: one exists that began with another model.
    """
    from robot_wm.jepa import JEPAWorldModel
    from robot_wm.lessons import LessonStore
    from robot_wm.taught import Taught, build_taught
    from robot_wm.train_actor import train_actor
    from sim import make
    from sim.teacher import pictures

    folder = settings.model_path(f"{settings.name}-taught{turn}")
    if (folder / MANIFEST).is_file():
        base = read_manifest(start[0], "world_model", verify=False)["sha256"]
        check_parent(read_manifest(folder, "world_model", verify=False), "latent", base)
        return folder
    loaded = JEPAWorldModel.load(*start, settings.threads)
    env = make(settings.task.name, settings.image_size)
    mirror, stores = env.spec.mirror, [LessonStore(path) for path in lessons]
    env.reset(seed=0)
    caches = [
        build_taught(s, loaded, lambda x: pictures(env, x), mirror, storage_root() / "taught")
        for s in stores
    ]
    both = list(zip(stores, caches, strict=True))
    taught = Taught(both, mirror, loaded.spec.block, loaded.network.predictor)
    env.close()
    config = settings.actor_config()
    recorded = _recorded(settings, start[1], loaded) if config.recorded else None
    facts = {"lessons": [store.sha256(s) for store in stores for s in store.shards]}
    say(f"training the actor on {len(taught.train)} answers into {folder}")
    return train_actor(config, taught, recorded, loaded, start[0], folder.parent, facts)


def _recorded(settings: Settings, encoder: Path, loaded: JEPAWorldModel) -> Recorded:
    """Demonstrations of the collections that the world model is trained on."""
    from robot_wm.taught import Recorded
    from robot_wm.windows import open_pairs

    data = [dataset(settings, collection) for collection in settings.train_on]
    caches = [latents(settings, encoder, path) for path in data]
    pairs = open_pairs(settings.task.name, data, caches, loaded.encoder.sha256)
    return Recorded.load(pairs, loaded, settings.train_config().demonstration_noise)
