"""What a row says about its method, beside what the evaluator measures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from planning.agent.registry import AgentRecipe
from planning.commands.calibrate import verdict_of
from planning.commands.parts.agents import agent_of, planner_of
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import make, tasks
from robot_wm.core.aliases import stored
from robot_wm.core.storage.provenance import read_json, read_manifest, sha256_of

Row = dict[str, Any]


def uses_bundle(known: AgentRecipe) -> bool:
    """Whether an agent plans with the exported files."""
    return known.needs_model and known.backend == "onnx"


def facts(
    settings: Settings,
    method: str,
    folders: tuple[Path, Path] | None,
    bundle_folder: Path | None = None,
) -> Row:
    """What a row says about its method, beside what the evaluator measures."""
    known, info = agent_of(settings, method), Row(image_size=settings.image_size)
    info |= verdict_of(settings.results, settings.task.name)
    planner = planner_of(settings, known)
    if known.section:
        optimizer = planner.search(f"{known.section}.options")
        n, rounds = optimizer.candidates, optimizer.iterations
        effective = known.planner(asdict(planner))
        seen = effective["mirror"] and tasks()[settings.task.name].mirror
        info |= {
            "budget_class": f"B{n * rounds}",
            "views": known.row.get("views", 2 if seen else 1),
            "candidates": n,
            "iterations": rounds,
            "horizon": planner.horizon,
            "execute": planner.execute,
            "optimiser": planner.optimizer,
            "proposals": effective["proposals"],
            "planner": stored("planner", asdict(planner)),
        }
    if known.needs_model and folders is not None:
        model_manifest = read_manifest(folders[0], "world_model", verify=False)
        info |= {
            "backend": f"onnx{make('bundle_suffix')(settings)}" if uses_bundle(known) else "torch",
            "provider": settings.provider if uses_bundle(known) else None,
            "encoder_id": encoder_id(folders[1]),
            "encoder_sha256": model_manifest["parents"]["encoder"],
            "frozen": True,
            "model_sha256": model_manifest["sha256"],
            "weights": settings.weights,
        }
        if bundle_folder is not None:
            made = read_manifest(bundle_folder, "bundle", verify=False)
            info["bundle_sha256"] = made["sha256"]
    section = asdict(settings.evaluate)
    if not section["words"]:
        del section["words"]  # rows from before there were any stay the same rows
    configured = {
        "settings": section,
        "planner": stored("planner", asdict(planner)),
    }
    return {**info, "config_sha256": sha256_of({**configured, "method": known.name})}


def encoder_id(folder: Path) -> str:
    """A short name of a stored encoder: its family and, of ours, its shape."""
    family = read_manifest(folder, "encoder", verify=False)["facts"].get("family", "vit")
    shape = read_json(folder / "config.json").get("encoder", {})
    sizes = f"-{shape['width']}x{shape['depth']}-p{shape['patch']}" if family == "vit" else ""
    return f"{family}{sizes}"
