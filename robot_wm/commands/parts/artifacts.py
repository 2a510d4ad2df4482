"""Stages by name: what they make is reused by name, checked by hash, made if missing.

Encoder, latents and world model are here, the others in the rooms that know how; an installed
package adds one by an entry point of ``robot_wm.artifacts``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.cli.paths import SHIPPED, is_shipped
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.seen import check_size, encoder_of, no_shipped_encoder
from robot_wm.core.aliases import current
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.images import Size
from robot_wm.core.registry import Registry
from robot_wm.core.storage.provenance import (
    MANIFEST,
    check_parent,
    check_same,
    read_json,
    read_manifest,
    storage_root,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.world_models.base import TrainingData


STAGES = Registry(
    "robot_wm.artifacts",
    {
        "bundle": "export.build.stage:bundle",
        "bundle_suffix": "export.build.stage:kind",
        "closed_loop": "planning.evaluation.stage:closed_loop",
        "dataset": "sim.collection.stage:dataset",
        "environment": "sim:make",
        "first_frames": "sim.collection.stage:first_frames",
        "looks": "sim.randomization:looks_of",
        "pair_lists": "planning.evaluation.stage:pair_lists",
        "tasks": "sim.tasks:TASKS",
    },
)


def make(name: str) -> Any:
    """What makes an artefact of another room, see :data:`STAGES`."""
    return STAGES[name]


def dataset(settings: Settings, collection: str) -> Path:
    """One collection of the task, recorded where episodes are missing."""
    return Path(make("dataset")(settings, collection))


def scene(task: str, image_size: Size, **options: Any) -> Any:
    """A simulated scene, see ``sim.make``."""
    return make("environment")(task, image_size, **options)


def tasks() -> Mapping[str, Any]:
    """Simulated tasks by name."""
    found: Mapping[str, Any] = make("tasks")
    return found


def tasks_here(names: Iterable[str]) -> list[str]:
    """Those of the named tasks whose scenes can be made here; of others a line says why not.

    Raises:
        ConfigError: there is none.
    """
    found, refused = [], list[ConfigError]()
    for name in names:
        try:
            tasks()[name]().check()
        except ConfigError as error:
            refused.append(error)
            say(f"{name} is left out: {error.received}; {error.next_step}")
        else:
            found.append(name)
    if not found:
        raise refused[0]
    return found


def bundle(session: Session) -> Path:
    """The exported bundle of the model to evaluate, made if missing."""
    return Path(make("bundle")(session))


def encoder_datasets(session: Session) -> list[Path]:
    """Every collection of every task that pretrains the encoder."""
    return [
        dataset(session.for_encoder(task), collection)
        for task in session.settings.encoder_tasks
        for collection in session.settings.pretrain_on
    ]


def encoder(session: Session) -> Path:
    """The frozen encoder's artefact, pretrained if missing.

    Raises:
        WeightsError: shipped weights were asked for and this installation has none.
    """
    settings = session.settings
    folder = settings.encoder_path()
    if (folder / MANIFEST).is_file():
        _check_encoder(session, folder)
        return folder
    if is_shipped(settings.encoder_name):
        raise no_shipped_encoder(settings)
    from robot_wm.encoders.base import Untrained
    from robot_wm.pretraining.trainer import pretrain

    if isinstance(settings.encoder_family, Untrained):
        return settings.encoder_family.create(settings.encoder_config(), settings.seed, folder)
    parents = encoder_datasets(session)
    say(f"pretraining the encoder {settings.encoder_name!r} on {len(parents)} data sets")
    return pretrain(settings.pretrain_config(), parents, folder.parent)


def _no_weights(folder: Path) -> WeightsError:
    return WeightsError(
        f"no shipped weights in {folder}",
        "an installation with weights, or weights of your own",
        "give weights=<name>, e.g. weights=default; missing stages are made",
    )


def latents(settings: Settings, encoder_folder: Path, data: Path) -> Path:
    """Latent cache of one data set, built if missing."""
    from robot_wm.data.latent_cache import build_latents
    from robot_wm.encoders.base import load_encoder

    frozen = load_encoder(encoder_folder)
    return build_latents(data, frozen, storage_root() / "latents")


def model(session: Session, name: str | None = None, as_stored: bool = False) -> tuple[Path, Path]:
    """Artefacts of a world model and of its encoder; the model is trained if missing.

    Args:
        name: ``shipped`` or a name; the run's own name if None.
        as_stored: a finished model, whatever its pictures' size and its encoder are here; also
            where it has the run's own name.

    Raises:
        WeightsError: shipped weights were asked for and this installation has none.
        DataError: the model was trained on another encoder.
        ConfigError: ``image_size`` is not that of the model's pictures.
    """
    settings = session.settings
    folder = settings.model_path(name)
    if name is not None and (as_stored or name != settings.name):
        if not (folder / MANIFEST).is_file():
            raise _no_weights(folder) if name == SHIPPED else _no_such_model(settings, name)
        if not as_stored:
            check_size(settings, folder)
        parent = encoder_of(settings, folder)
    else:
        parent = encoder(session)
        if not (folder / MANIFEST).is_file():
            _train(settings, parent, folder)
        _check_model(settings, folder)
        check_data(settings, folder)
    digest = read_manifest(parent, "encoder", verify=False)["sha256"]
    check_parent(read_manifest(folder, "world_model", verify=False), "encoder", digest)
    return folder, parent


def _train(settings: Settings, parent: Path, folder: Path) -> None:
    data = training_data(settings, settings.train_on, parent)
    say(f"training the world model of {settings.task.name} into {folder}")
    config, watch = settings.train_config(), make("closed_loop")(settings)
    settings.family.train(config, data, folder.parent, watch)


def training_data(settings: Settings, collections: Sequence[str], parent: Path) -> TrainingData:
    """Collections of this task with the encoder ``parent``, for a family to train on."""
    from robot_wm.world_models.base import TrainingData

    roots = [dataset(settings, collection) for collection in collections]
    return TrainingData(roots, parent, partial(latents, settings, parent))


def check_data(settings: Settings, folder: Path) -> None:
    """Refuse a model of episodes other than those stored now; without episodes there is no doubt.

    Raises:
        DataError: a data set has grown or was made anew since the model was trained.
    """
    from robot_wm.data.formats.base import is_dataset, open_episodes

    known = read_manifest(folder, "world_model", verify=False)["facts"].get("datasets", [])
    roots = [settings.dataset_path(settings.task.name, name) for name in settings.train_on]
    if not all(is_dataset(root) for root in roots):
        return
    stored = [open_episodes(root, verify=False).sha256 for root in roots]
    if known != stored:
        raise DataError(
            f"{folder} was trained on other episodes than {', '.join(map(str, roots))} now hold",
            ", ".join(f"{str(digest)[:12]}…" for digest in known),
            f"delete {folder.parent} to train again, or give this run another `name=`",
        )


def _check_encoder(session: Session, folder: Path) -> None:
    """Whether a stored encoder is of this configuration, and of the episodes that are stored.

    Collections that it has not seen at all are told: it may do for them.

    Raises:
        DataError: it is not.
    """
    from robot_wm.data.formats.base import is_dataset, open_episodes

    settings, manifest = session.settings, read_manifest(folder, "encoder", verify=False)
    if is_shipped(settings.encoder_name) or "distill" in manifest["facts"]:
        shape = {"image_size": settings.image_size}
        check_same(folder, read_json(folder / "config.json").get("encoder", {}), shape, "pretrain")
        return
    if find_spec("torch") is None:
        return
    from robot_wm.encoders.base import Untrained
    from robot_wm.pretraining.trainer import PretrainConfig

    free = ("threads", "device", "log_every", "checkpoint_every", "monitor_every",
            "monitor_train", "monitor_test")  # fmt: skip
    if isinstance(settings.encoder_family, Untrained):
        wanted = settings.encoder_family.made_of(settings.encoder_config(), settings.seed)
    else:
        asked = settings.pretrain_config().to_json()
        wanted = {k: v for k, v in asked.items() if k not in free}
    way_out = f"delete {folder.parent}"
    check_same(folder, manifest["facts"].get("pretrain", {}), wanted, way_out, PretrainConfig)
    unseen = []
    for task in settings.encoder_tasks:
        for collection in settings.pretrain_on:
            root = session.for_encoder(task).dataset_path(task, collection)
            known = manifest["parents"].get(f"dataset:{root.name}")
            unseen += [] if known else [root.name]
            if known and is_dataset(root):
                digest = open_episodes(root, verify=False).sha256
                check_same(folder, {root.name: known}, {root.name: digest}, way_out)
    if unseen and manifest["parents"]:
        say(f"{folder} has seen nothing of {', '.join(unseen)} in its pretraining")


def _check_model(settings: Settings, folder: Path) -> None:
    """Whether a stored world model is of this configuration.

    Raises:
        DataError: it is not.
    """
    if find_spec("torch") is None:
        return
    facts = read_manifest(folder, "world_model", verify=False)["facts"]
    stored = current("train", facts.get("config", {}))
    config = settings.train_config()
    free = settings.family.free
    wanted = {k: v for k, v in current("train", asdict(config)).items() if k not in free}
    check_same(folder, stored, wanted, f"delete {folder.parent}", type(config))


def _no_such_model(settings: Settings, name: str) -> WeightsError:
    task = settings.task.name
    stored = sorted((storage_root() / "models").glob(f"{task}-*/world_model/{MANIFEST}"))
    variants = settings.model_path(SHIPPED).parent.glob(f"{task}-*/{MANIFEST}")
    known = [
        SHIPPED,
        *sorted(f"{SHIPPED}{path.parent.name.removeprefix(task)}" for path in variants),
        *(path.parts[-3].removeprefix(f"{task}-") for path in stored),
    ]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return WeightsError(
        f"no world model {name!r} of {task}", ", ".join(known),
        f"{hint}name one of these, or train it: robot-wm train task={task} name={name}",
    )  # fmt: skip
