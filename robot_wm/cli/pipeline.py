"""Each stage makes what it needs: artefacts that exist are reused by name, checked by hash."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.cli.paths import SEEDS, SHIPPED
from robot_wm.cli.settings import Settings
from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.storage.json_io import parse_json
from robot_wm.core.storage.provenance import (
    MANIFEST,
    canonical_json,
    read_json,
    read_manifest,
    storage_root,
)

if TYPE_CHECKING:
    from robot_wm.cli.main import Session


def check_same(
    place: Path, stored: Mapping[str, Any], asked: Mapping[str, Any], way_out: str
) -> None:
    """Refuse an artefact that was made with another configuration than the one asked for.

    Only keys that both know are compared: an older artefact has the defaults of what came later.

    Raises:
        DataError: some values differ; both are told.
    """
    ours: dict[str, Any] = parse_json(canonical_json(dict(asked)))
    differ = [k for k in sorted(stored.keys() & ours.keys()) if stored[k] != ours[k]]
    if differ:
        told = "; ".join(f"{k} = {canonical_json(stored[k])}" for k in differ)
        raise DataError(
            f"{place} was made with {told}",
            "; ".join(f"{k} = {canonical_json(ours[k])}" for k in differ) + ", as asked for now",
            f"ask for what is stored, give this run another `name=`, or {way_out}",
        )


def _check_encoder(session: Session, folder: Path) -> None:
    """Whether a stored encoder is of this configuration, and of the episodes that are stored.

    Raises:
        DataError: it is not.
    """
    from robot_wm.data.formats.base import is_dataset, open_episodes

    settings, manifest = session.settings, read_manifest(folder, "encoder", verify=False)
    if settings.encoder_name == SHIPPED:
        shape = {"image_size": settings.image_size}
        check_same(folder, read_json(folder / "config.json").get("encoder", {}), shape, "pretrain")
        return
    if find_spec("torch") is None:
        return
    free = ("threads", "device", "log_every", "checkpoint_every", "monitor_every",
            "monitor_train", "monitor_test")  # fmt: skip
    asked = {k: v for k, v in settings.pretrain_config().to_json().items() if k not in free}
    way_out = f"delete {folder.parent}"
    check_same(folder, manifest["facts"].get("pretrain", {}), asked, way_out)
    for task in settings.encoder_tasks:
        for collection in SEEDS:
            root = session.for_task(task).dataset_path(task, collection)
            known = manifest["parents"].get(f"dataset:{root.name}")
            if known and is_dataset(root):
                digest = open_episodes(root, verify=False).sha256
                check_same(folder, {root.name: known}, {root.name: digest}, way_out)


def _check_model(settings: Settings, folder: Path) -> None:
    """Whether a stored world model is of this configuration.

    Raises:
        DataError: it is not.
    """
    if find_spec("torch") is None:
        return
    stored = read_manifest(folder, "world_model", verify=False)["facts"].get("config", {})
    asked = {
        k: v for k, v in asdict(settings.train_config()).items() if k not in settings.family.free
    }
    check_same(folder, stored, asked, f"delete {folder.parent}")


def _no_such_model(settings: Settings, name: str) -> WeightsError:
    task = settings.task.name
    stored = sorted((storage_root() / "models").glob(f"{task}-*/world_model/{MANIFEST}"))
    known = [SHIPPED, *(path.parts[-3].removeprefix(f"{task}-") for path in stored)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return WeightsError(
        f"no world model {name!r} of {task}", ", ".join(known),
        f"{hint}name one of these, or train it: robot-wm train task={task} name={name}",
    )  # fmt: skip
