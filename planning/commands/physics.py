"""``robot-wm physics``: whether a world model is surprised when the impossible happens.

Matched clips of the task's scene, equal until one of them breaks a law of its physics; the model's
surprise beside that of trivial predictions in its own latent, of random weights and of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.commands.parts.edits import edited
from planning.commands.parts.ridge import absorbing
from planning.surprise.results import ALL, FOLDER, Row, add_rows, render, rows_of
from planning.surprise.scores import BothViews, PixelDifference, judged
from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.parts.artifacts import model, tasks
from robot_wm.core.config import Count, Seed
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.protocols import SurpriseReferences, Surprising
from robot_wm.core.storage.provenance import atomic_write, provenance, read_manifest
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings

Clips = Mapping[str, Sequence[Any]]
VALIDATION = 1  # added to the seed: scenes that no test pair shows


@dataclass(frozen=True)
class PhysicsSettings:
    """Clips in which something impossible happens.

    Attributes:
        pairs: of each category.
        validation: pairs of each category on which the pooling over a clip is chosen.
        categories: some of continuity, solidity, inertia, immutability, causality, permanence,
            gravity; empty takes all.
        seed: of the clips.
    """

    pairs: Count = 40
    validation: Count = 10
    categories: tuple[str, ...] = ()
    seed: Seed = 0


def run(session: Session) -> int:
    """Ask model and references, print the table, write rows and a sheet of one pair a category."""
    settings = session.settings
    folder, encoder = model(session, settings.weights)
    if settings.edits.pairs:
        return _edit(settings, (folder, encoder))
    if settings.ridge.clips:
        return absorbing(settings, (folder, encoder))
    clips = both_splits(settings)
    rows = ask(settings, (folder, encoder), clips)
    results = CHECKOUT / "results" if settings.publish else settings.run_path("physics")
    path = results / FOLDER / f"{settings.task.name}.jsonl"
    add_rows(path, rows)
    print(render(rows))
    out = settings.run_path("physics") / f"{settings.task.name}.png"
    atomic_write(out, sheet(clips[0]))
    print(f"pictures: {out}")
    print(f"rows: {path}")
    return 0


def _edit(settings: Settings, folders: tuple[Path, Path]) -> int:
    """Move states along a probe's direction, print what came of it and write the row."""
    from planning.ledger import measurements

    row = edited(settings, folders)
    results = CHECKOUT / "results" if settings.publish else settings.run_path("physics")
    path = results / measurements.FOLDER / f"edits-{settings.task.name}.jsonl"
    measurements.add_rows(path, [row])
    for name, value in row["values"].items():
        print(f"{name:<12} {value:g}")
    print(f"rows: {path}")
    return 0


def both_splits(settings: Settings) -> tuple[Clips, Clips]:
    """Test and validation pairs by category."""
    section, made = settings.physics, []
    for count, seed in (
        (section.pairs, 2 * section.seed),
        (section.validation, 2 * section.seed + VALIDATION),
    ):
        clips: Clips = locate("sim.physics.stage.clip_pairs")(
            settings.task.name, settings.image_size, settings.collect.frame_every,
            section.categories, count, seed,
        )  # fmt: skip
        made.append(clips)
    test, validation = made
    return {name: test[name] for name in test if name in validation}, validation


def ask(
    settings: Settings, folders: tuple[Path, Path], clips: tuple[Clips, Clips], alone: bool = False
) -> list[Row]:
    """Rows of a stored world model and, unless ``alone``, of its references.

    Raises:
        ConfigError: a model without surprise.
    """
    manifest = read_manifest(folders[0], "world_model", verify=False)
    info = {
        "task": settings.task.name, "seed": settings.physics.seed, "weights": settings.weights,
        "model_sha256": manifest["sha256"],
        "encoder_sha256": manifest["parents"].get("encoder"), **provenance(),
    }  # fmt: skip
    elsewhere = locate("sim.physics.stage.OTHER_SCENES")
    rows: list[Row] = []
    asked = methods(settings, folders)
    for method, surprising in list(asked.items())[: 1 if alone else None]:
        say(f"asking {method}")
        found = [{name: judged(surprising, pairs) for name, pairs in part.items()}
                 for part in clips]  # fmt: skip
        rows += rows_of(method, found[0], found[1], elsewhere, info)
    return rows


def methods(settings: Settings, folders: tuple[Path, Path]) -> dict[str, Surprising]:
    """The model by its family's name, and everything that it must beat.

    Raises:
        ConfigError: a model without surprise.
    """
    from robot_wm.probing.random_surprise import random_tokens
    from robot_wm.world_models.base import family_of, load_world_model

    loaded, family = load_world_model(*folders), family_of(folders[0]).name
    if not isinstance(loaded, Surprising):
        raise ConfigError(
            f"a world model of the family {family}, which is never surprised",
            "a model with `surprise` (robot_wm.core.protocols.Surprising)",
            "give it that method, or ask another model",
        )
    found: dict[str, Surprising] = {family: loaded}
    if isinstance(loaded, SurpriseReferences):
        found |= loaded.surprise_references()
    mirror = tasks()[settings.task.name].mirror if settings.planner.mirror else None
    if mirror is not None:
        found = {name: BothViews(each, mirror) for name, each in found.items()}
    if (random := random_tokens(folders[1])) is not None:
        found["random weights"] = random
    return {**found, "pixels": PixelDifference()}


def accuracy(rows: Sequence[Row], method: str) -> float | None:
    """Per cent of pairs that a method tells apart; None where its scene shows none."""
    return next(
        (r["pairwise_pct"] for r in rows if (r["method"], r["category"]) == (method, ALL)), None
    )


def sheet(clips: Clips) -> bytes:
    """PNG of the first pair of each category: the possible clip above the impossible one."""
    from planning.reporting.pictures import png

    rows = []
    for pairs in clips.values():
        for frames in (pairs[0].possible, pairs[0].impossible):
            rows.append(np.hstack(list(frames)))
        rows.append(np.zeros((4, rows[-1].shape[1], 3), np.uint8))
    return png(np.vstack(rows).repeat(2, axis=0).repeat(2, axis=1))
