"""The bundle of a model: where it lies, and whether it is that model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from planning.agent.restoring.camera import CameraReference
from planning.optimizers import PolicyOnly
from robot_wm.cli.compose import compose
from robot_wm.cli.paths import PACKAGE, is_shipped
from robot_wm.commands.parts.artifacts import dataset, make, model, tasks
from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.images import sides
from robot_wm.core.storage.provenance import (
    MANIFEST,
    claim,
    read_manifest,
    storage_root,
)
from robot_wm.core.system.extras import installed
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    import numpy as np

    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings

BUNDLE = "bundle"


def place(settings: Settings) -> Path:
    """Where a bundle is written: the named folder, or storage."""
    name = f"{settings.task.name}-{settings.weights}{kind(settings)}"
    return Path(settings.bundle) if settings.bundle else storage_root() / "bundles" / name


def kind(settings: Settings) -> str:
    """Suffix of a bundle's name by precision: empty for float32, ``-int8`` for int8."""
    return "" if settings.precision == "float32" else f"-{settings.precision}"


def write(session: Session, folder: Path, alone: bool = False) -> Path:
    """Export into ``folder``, an empty one or a bundle of ours, which is replaced.

    icem is exported with as many candidates in every round: the loop of an ONNX graph has one size.
    With ``planner=policy_only`` the graph holds icem, too.

    Args:
        alone: whether the runtime is to act by the actor alone where ``planner`` does.

    Raises:
        StorageError: ``folder`` holds something else; found out before any work.
    """
    from export.build.bundle import ExportConfig, export
    from robot_wm.world_models.base import load_world_model
    from robot_wm.world_models.jepa.visualization import SHEET, read_sheet

    claim(folder, BUNDLE)
    settings, planner = session.settings, session.settings.planner
    mode1 = isinstance(planner.search(), PolicyOnly)
    if mode1:
        icem = compose(["planner=icem"]).planner
        planner = replace(icem, discount=planner.discount)
    trained, encoder = model(session, settings.weights)
    source = load_world_model(trained, encoder)
    task, size = tasks()[settings.task.name], sides(source.spec.image_size)
    mirror = task.mirror
    config = ExportConfig(
        optimizer=planner.optimizer,
        options={**planner.options, **({"decay": 1.0} if planner.optimizer == "icem" else {})},
        discount=planner.discount,
        proposals=planner.proposals,
        precision=settings.precision,
        alone=alone and mode1,
        mirror=mirror if planner.mirror and mirror and mirror.fits(*size) else None,
        threads=settings.threads,
        action_unit=unit_of(task.full_command),
    )
    sheet = trained / SHEET
    camera = (
        CameraReference.of(read_sheet(sheet, source.spec.image_size)) if sheet.is_file() else None
    )
    say(f"exporting {settings.task.name} into {folder}")
    reports = export(source, config, held_out_frames(session), folder, camera)
    parity, latency = reports["parity"], reports["latency"]
    say(f"parity with torch: costs {parity['worst']:.1e} relative, plan {parity['plan']:.1e}")
    say(
        f"{latency['total_ms_p50']:.0f} ms a plan (p99 {latency['total_ms_p99']:.0f}), "
        f"{latency['rss_mb']:.0f} MiB, bundle {latency['bundle_mb']:.1f} MB"
    )
    return folder


def unit_of(full_command: Sequence[str]) -> str:
    """What a robot is told of its actions: the meaning of each number, in order, if known."""
    known = ", ".join(full_command)
    return f"in [-1, 1]; 1 is {known or 'the full command of the training scene'}"


def bundle(session: Session) -> Path:
    """The bundle of the model to evaluate; in storage it is exported if there is none.

    Only ``robot-wm export`` replaces a bundle: whatever stands where one is looked for is used if
    it is of the model asked for, and refused otherwise.

    Raises:
        WeightsError: no bundle in the folder named, or one of another model.
    """
    settings = session.settings
    trained, _ = model(session, settings.weights)
    wanted = read_manifest(trained, "world_model", verify=False)["sha256"]
    ours = settings.shipped_bundle
    shipped = is_shipped(settings.weights) and not settings.bundle and not kind(settings)
    if shipped and (ours / MANIFEST).is_file() and _parent(ours) == wanted:
        return ours
    folder = place(settings)
    if not (folder / MANIFEST).is_file():
        if settings.bundle:
            raise WeightsError(
                f"no bundle in {folder}", "a folder that `robot-wm export` wrote",
                f"robot-wm export task={settings.task.name} bundle={folder}",
            )  # fmt: skip
        return write(session, folder)
    if (found := _parent(folder)) != wanted:
        raise WeightsError(
            f"{folder} holds the planner of world model {str(found)[:12]}…",
            f"that of {settings.weights!r} for {settings.task.name}, {wanted[:12]}…",
            "give the weights= and task= it was exported from, or name another folder; "
            "`robot-wm export` alone replaces a bundle",
        )
    return folder


def held_out_frames(session: Session) -> np.ndarray:
    """Recorded images of validation episodes, uint8 ``[M, S, S, 3]``, four consecutive ones each.

    Those of shipped models lie beside them; others come from the episodes that the model was
    trained on. Who publishes a new shipped model gets the pictures that it was not trained on.
    """
    from robot_wm.data.formats.base import open_episodes
    from robot_wm.data.held_out_frames import (
        COUNT,
        frames_of,
        load_frames,
        recorded_frames,
        save_frames,
    )

    settings = session.settings
    if is_shipped(settings.weights):
        trained, _ = model(session, settings.weights)
        wanted = read_manifest(trained, "world_model", verify=False)["sha256"]
        name = settings.model_path(settings.weights).name
        shipped_frames = PACKAGE / "weights" / "frames" / name
        if settings.publish and frames_of(shipped_frames) != wanted:
            save_frames(shipped_frames, make("first_frames")(settings, "validation", COUNT), wanted)
        return load_frames(shipped_frames, wanted)
    return recorded_frames([open_episodes(dataset(settings, "nominal"))])


def _parent(folder: Path) -> str | None:
    """Hash of the world model that a bundle plans with."""
    try:
        return read_manifest(folder, BUNDLE, verify=False)["parents"].get("world_model")
    except DataError as error:
        raise WeightsError(error.received, error.accepted, error.next_step) from error


def check(settings: Settings) -> None:
    """Whether a bundle can have this precision, and onnxruntime the provider.

    Raises:
        ConfigError: it cannot.
    """
    from export.build.quantize import PRECISIONS

    if settings.precision not in PRECISIONS:
        raise ConfigError(
            f"precision {settings.precision!r}", ", ".join(PRECISIONS), "correct `precision`"
        )
    # Asked only where another than its own is wanted.
    if settings.provider == "CPUExecutionProvider" or not installed("onnxruntime"):
        return
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if settings.provider not in available:
        raise ConfigError(
            f"provider = {settings.provider!r}", ", ".join(available),
            "name one of these, or install the onnxruntime build that has it",
        )  # fmt: skip
