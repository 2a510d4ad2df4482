"""A part of ``robot-wm physics``: states edited along a probe's direction, and rolled out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from robot_wm.core.config import Natural, Seed, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.protocols import Editable
from robot_wm.core.storage.provenance import provenance, read_manifest

if TYPE_CHECKING:
    from robot_wm.cli.settings import Settings

CLAIM = 12  # in the ledger
HELD_OUT = 0.2  # share of the probe's episodes that it is scored on


@dataclass(frozen=True)
class EditsSettings:
    """Scenes in which a body lies elsewhere, for states edited along a probe's direction.

    Attributes:
        pairs: scenes; above 0 ``robot-wm physics`` asks this and nothing else.
        episodes: of eight frames each that the probe is fitted on.
        far: how far the body is moved [m].
        seed: of both.
    """

    pairs: Natural = 0
    episodes: Annotated[int, Within(2, 10**6)] = 100
    far: Annotated[float, Within(above=0, high=10)] = 0.02
    seed: Seed = 0


def edited(settings: Settings, folders: tuple[Path, Path]) -> dict[str, Any]:
    """The row of a stored world model.

    Raises:
        ConfigError: a model whose latents cannot be moved.
    """
    from planning.ledger.edits import Probe, nearer
    from robot_wm.world_models.base import family_of, load_world_model

    section, family = settings.edits, family_of(folders[0]).name
    model = load_world_model(*folders)
    if not isinstance(model, Editable):
        raise ConfigError(
            f"a world model of the family {family}, whose latents cannot be moved",
            "a model with `latents` and `continued` (robot_wm.core.protocols.Editable)",
            "give it these methods, or ask another model",
        )
    episodes, scenes = locate("sim.physics.stage.edited_scenes")(
        settings.task.name, settings.image_size, settings.collect.frame_every, section.episodes,
        section.pairs, section.far, section.seed,
    )  # fmt: skip
    latents = np.concatenate([model.latents(frames) for frames, _ in episodes])
    places = np.concatenate([place for _, place in episodes])
    held_out = max(1, round(HELD_OUT * len(episodes))) * len(episodes[0][1])
    probe = Probe.fit(latents.astype(np.float64), places, held_out)
    manifest = read_manifest(folders[0], "world_model", verify=False)
    values = nearer(model, probe, scenes, np.random.default_rng(section.seed))
    return {
        "claim": CLAIM, "task": settings.task.name, "model": family, "setting": None,
        "seed": section.seed, "n": len(scenes),
        "values": {**values, "probe_r2": round(probe.r2, 4)},
        "far_m": section.far, "probe_frames": len(latents) - held_out,
        "weights": settings.weights, "model_sha256": manifest["sha256"],
        "encoder_sha256": manifest["parents"].get("encoder"), **provenance(),
    }  # fmt: skip
