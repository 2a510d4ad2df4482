"""``robot-wm export``: the whole planner as one ONNX bundle, compared with its source first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robot_wm.commands.settings import CHECKOUT, SHIPPED
from robot_wm.commands.stages import dataset, model, say
from robot_wm.manifest import MANIFEST, read_manifest, storage_root, write_json

if TYPE_CHECKING:
    from robot_wm.cli import Session
    from robot_wm.commands.settings import Settings


def run(session: Session) -> int:
    """Export the task's model and print the bundle's folder."""
    print(write(session, place(session.settings)))
    return 0


def place(settings: Settings) -> Path:
    """Where a bundle is written: the named folder, the package's own to publish, or storage."""
    if settings.bundle:
        return Path(settings.bundle)
    if settings.publish and settings.weights == SHIPPED:
        return settings.bundle_path()
    return storage_root() / "bundles" / f"{settings.task.name}-{settings.weights}"


def write(session: Session, folder: Path) -> Path:
    """Export into ``folder``, replacing what is there.

    icem is exported with as many candidates in every round: the loop of an ONNX graph has one size.
    """
    from export.bundle import ExportConfig, export, recorded_frames
    from robot_wm.episodes import EpisodeStore
    from robot_wm.jepa import JEPAWorldModel

    settings, planner = session.settings, session.settings.planner
    trained, encoder = model(session, settings.weights)
    source = JEPAWorldModel.load(trained, encoder, settings.threads)
    config = ExportConfig(
        optimiser=planner.optimiser,
        options={**planner.options, **({"decay": 1.0} if planner.optimiser == "icem" else {})},
        discount=planner.discount,
        proposals=planner.proposals,
        threads=settings.threads,
    )
    frames = recorded_frames([EpisodeStore(dataset(settings, "nominal"))])
    reports = export(source, config, frames, folder)
    parity, latency = reports["parity"], reports["latency"]
    say(f"parity with torch: costs {parity['worst']:.1e} relative, plan {parity['plan']:.1e}")
    say(
        f"{latency['total_ms_p50']:.0f} ms a plan (p99 {latency['total_ms_p99']:.0f}), "
        f"{latency['rss_mb']:.0f} MiB, bundle {latency['bundle_mb']:.1f} MB"
    )
    if settings.publish:
        size = f"{latency['candidates']}x{latency['iterations']}"
        path = CHECKOUT / "results" / "export" / f"{settings.task.name}-{size}.json"
        write_json(path, reports)
        say(str(path))
    return folder


def bundle(session: Session) -> Path:
    """The bundle of the model to evaluate, exported if missing or of another model."""
    settings = session.settings
    trained, _ = model(session, settings.weights)
    wanted = read_manifest(trained, "world_model", verify=False)["sha256"]
    known = (settings.bundle_path(), place(settings))
    for folder in known[1:] if settings.bundle else known:
        if (folder / MANIFEST).is_file():
            parents = read_manifest(folder, "bundle", verify=False)["parents"]
            if parents.get("world_model") == wanted:
                return folder
    return write(session, place(settings))
