"""``robot-wm distill``: carry a trained world model over to another encoder, and to other looks.

The model named by ``weights`` says what the latent of every recorded frame is; over the encoder
named by ``encoder_name``, a new projector learns to say the same, of the frame as it was recorded
and of the same state in other colours, light and camera. Predictor, actor and goal distance stay as
they are. Pictures may have another size. The result is the world model ``<name>-distilled``. With
``distill.encoder=true`` that encoder learns, too, and is frozen under the same name.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.commands.parts.artifacts import (
    check_data,
    encoder,
    model,
    scene,
    tasks,
    training_data,
)
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.storage.provenance import (
    MANIFEST,
    check_parent,
    check_same,
    read_json,
    read_manifest,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.world_models.base import Distills, TrainingData


def run(session: Session) -> int:
    """Distil where there is no such model yet, and print its folder.

    Raises:
        ConfigError: a source of a family that cannot do it.
        DataError: a model is stored under this name that was made otherwise, or of other episodes.
    """
    from robot_wm.world_models.base import KIND, Distills, family_of
    from robot_wm.world_models.distillation import FREE

    settings = session.settings
    source = model(session, settings.weights, as_stored=True)
    family = family_of(source[0])
    if not isinstance(family, Distills):
        raise ConfigError(
            f"a world model of the family {family.name}, whose latent cannot be distilled",
            "a family with `distill`", "distil another world model",
        )  # fmt: skip
    name = f"{settings.name}-distilled"
    parent, folder = encoder(session), settings.model_path(name)
    if not (folder / MANIFEST).is_file():
        data = training_data(settings, settings.train_on, parent)
        say(f"distilling {source[0]} into {folder}")
        _distill(session, family, source, data, folder.parent, settings.encoder_path(name))
    made = read_manifest(folder, KIND, verify=False)
    seen = "first_encoder" if settings.distill.encoder else "encoder"
    for role, path, kind in ((seen, parent, "encoder"), ("latent", source[0], KIND)):
        check_parent(made, role, read_manifest(path, kind, verify=False)["sha256"])
    wanted = {k: v for k, v in asdict(settings.distill).items() if k not in FREE}
    wanted["seed"] = settings.seed
    way_out = f"delete {folder.parent}"
    check_same(folder, made["facts"].get("config", {}), wanted, way_out, type(settings.distill))
    check_data(settings, folder)
    print(f"world model: {folder}")
    return 0


def _distill(
    session: Session, family: Distills, source: tuple[Path, Path], data: TrainingData, out: Path,
    encoder_out: Path,
) -> None:  # fmt: skip
    """Distil, with the scene at hand where pictures must be drawn at the source's size."""
    settings = session.settings
    size = read_json(source[0] / "config.json")["spec"]["image_size"]
    if size == settings.image_size or settings.task.name not in tasks():
        family.distill(settings.distill, source, data, settings.seed, out, encoder_out=encoder_out)
        return
    env = scene(settings.task.name, size)
    env.reset(seed=0)
    pictures = partial(locate("sim.collection.teacher.pictures"), env)
    try:
        family.distill(settings.distill, source, data, settings.seed, out, pictures, encoder_out)
    finally:
        env.close()
