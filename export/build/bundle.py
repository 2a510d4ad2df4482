"""Make a bundle: graphs, contract, golden pairs, reports, card; published whole or not.

Parity is a gate: where onnxruntime and torch disagree beyond the tolerance on recorded frames, no
bundle is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.build.external_weights import NAME as WEIGHTS
from export.build.external_weights import SharedWeights
from export.build.graphs import Planner, graphs
from export.build.onnx_files import write_onnx
from export.build.quantize import PRECISIONS, QUANTIZED
from export.runtime.agent import objective_of, optimizer_of
from export.runtime.bundle_spec import CONTRACT, GOLDEN, KIND, METADATA_KEY, VERSION, Contract
from export.runtime.latency import measure_apart
from export.runtime.planner import OnnxPlanner
from export.runtime.world_model import OnnxWorldModel
from planning.agent.restoring.camera import CAMERA, CameraReference
from planning.optimizers import SAMPLING
from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import History, WorldModel, proposal_chance
from robot_wm.core.storage.markdown import card, table
from robot_wm.core.storage.provenance import atomic_folder, claim, write_json, write_manifest
from robot_wm.core.symmetry import Mirror
from robot_wm.world_models.base import ExportParts, export_parts

TOLERANCE = 1e-4  # relative, of costs
COUNTS = (16, 64, 300)
MARGIN = 1.2  # of the novelty threshold over the most novel held-out frame


@dataclass(frozen=True)
class ExportConfig:
    """What the bundle plans with.

    Attributes:
        optimizer, options: search of the planner graph; every round the same number of candidates.
        discount, proposals: see the planner's settings.
        camera: where the images must come from.
        action_unit: of the actions.
        mirror: of the scene, if plans are judged in it, too.
        precision: ``float32``, or ``int8`` for the graph that costs plans.
        tolerance: largest relative difference of costs between torch and onnxruntime; for int8 the
            difference is only told, and goals reached decide (``robot-wm export publish=true``).
        alone: whether the runtime acts by the actor alone, see :class:`Contract`.
        plans, threads: of the latency report; 0 plans make none.
    """

    optimizer: str = "icem"
    options: dict[str, Any] | None = None
    discount: float = 1.0
    proposals: int = 32
    camera: str = "fixed, as in the training scene"
    action_unit: str = "fraction of the scene's full command, [-1, 1]"
    mirror: Mirror | None = None
    precision: str = "float32"
    tolerance: float = TOLERANCE
    alone: bool = False
    plans: int = 300
    threads: int = 2

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision {self.precision!r}", ", ".join(PRECISIONS), "name one of them"
            )
        if self.optimizer not in SAMPLING:
            raise ConfigError(
                f"optimiser {self.optimizer!r} for the planner graph",
                ", ".join(SAMPLING),
                "export a search; the runtime takes any, e.g. agent_of(model, optimizer='choice')",
            )


def contract_of(model: WorldModel[Any], config: ExportConfig) -> Contract:
    """The manual of what :func:`export` will write.

    Raises:
        ConfigError: too few proposals for the graph, which always asks the actor, or a model that
            cannot be exported.
    """
    spec, parts = model.spec, export_parts(model)
    if config.proposals < parts.proposals + 2:
        raise ConfigError(
            f"proposals = {config.proposals}", f"{parts.proposals + 2} or more",
            "the planner graph always asks the learned actor",
        )  # fmt: skip
    parents = {k: v for k, v in spec.hashes.items() if k in ("encoder", "world_model")}
    return Contract(
        version=VERSION,
        spec=replace(spec, horizon=parts.horizon, hashes=parents),
        camera=config.camera,
        action_unit=config.action_unit,
        heads=parts.proposals,
        latent=parts.latent,
        optimizer=config.optimizer,
        options=dict(config.options or {}),
        discount=config.discount,
        proposals=config.proposals,
        novelty=np.inf,
        graphs={},
        precision=config.precision,
        mirror=config.mirror,
        alone=config.alone,
    )


def export(
    model: WorldModel[Any],
    config: ExportConfig,
    frames: np.ndarray,
    out: Path,
    camera: CameraReference | None = None,
) -> dict[str, Any]:
    """Write the bundle ``out`` and return its reports, ``parity`` and ``latency``.

    Args:
        frames: uint8 ``[M, S, S, 3]``, recorded images of held-out episodes, ``M >= 4``; all set
            the novelty threshold, the first 16 are for parity.
        camera: what stood still before the training frames' camera; the bundle carries it along.

    Raises:
        WeightsError: torch and onnxruntime disagree beyond ``config.tolerance``, or answer NaN:
            nothing written.
        ConfigError: a search or a model that cannot be exported.
        DataError: the process that measures the latency failed.
    """
    claim(Path(out), KIND)  # before the minutes of work, not after
    parts = export_parts(model)
    draft = contract_of(model, config)
    search, horizon = optimizer_of(draft), draft.spec.horizon
    made = graphs(parts, model.spec, search, objective_of(draft), horizon)
    described = {
        g.name: {
            "inputs": {k: [str(model_dtype(g, k)), *v] for k, v in g.inputs.items()},
            "outputs": {k: ["float32", *v] for k, v in g.outputs.items()},
        }
        for g in made
    }
    contract = replace(draft, graphs=described, novelty=threshold(parts, frames))
    metadata = json.dumps(contract.to_json(), sort_keys=True)
    with atomic_folder(Path(out), replaces=KIND) as work:
        write_json(work / CONTRACT, contract.to_json())
        if camera is not None:
            camera.write(work / CAMERA)
        weights = SharedWeights()
        for graph in made:
            precision = config.precision if graph.name in QUANTIZED else "float32"
            path = work / f"{graph.name}.onnx"
            write_onnx(graph, path, {METADATA_KEY: metadata}, weights, precision)
        weights.write(work)
        write_manifest(work, KIND, contract.spec.hashes, {})  # so that the runtime can read it
        report = compare(model, contract, work, frames)
        tolerance = config.tolerance if config.precision == "float32" else np.inf
        # Written so that NaN is refused, too.
        if not (np.isfinite(report["worst"]) and report["worst"] <= tolerance):
            raise WeightsError(
                f"costs differ by {report['worst']:.1e} between torch and onnxruntime",
                f"finite, at most {tolerance:.0e}, relative",
                "report this with the versions of torch, onnx and onnxruntime",
            )
        reports = {"parity": report}
        if config.plans:
            write_manifest(work, KIND, contract.spec.hashes, {})
            reports["latency"] = measure_apart(work, plans=config.plans, threads=config.threads)
        for name, value in reports.items():
            write_json(work / f"{name}.json", value)
        (work / "card.md").write_text(bundle_card(contract, reports, work), encoding="utf-8")
        write_manifest(work, KIND, contract.spec.hashes, {"parity": report})
    return reports


def threshold(parts: ExportParts, frames: np.ndarray) -> float:
    """Novelty of the most novel of these frames, times ``MARGIN``."""
    with torch.inference_mode():
        novelty = [
            parts.encode(torch.from_numpy(np.array(part)))[1]
            for part in np.array_split(frames, -(-len(frames) // 32))
        ]
    return MARGIN * float(torch.cat(novelty).max())


def model_dtype(graph: Any, name: str) -> str:
    """Dtype of an input in words."""
    return str(graph.dtypes.get(name, torch.float32)).removeprefix("torch.")


def compare(
    model: WorldModel[Any], contract: Contract, folder: Path, frames: np.ndarray
) -> dict[str, Any]:
    """Torch against onnxruntime on recorded frames; writes the golden pairs.

    Costs are compared tightly; plans are only reported, since a tie in the elite set may swap.
    """
    twin, rng = OnnxWorldModel(folder), np.random.default_rng(0)
    a = contract.spec.action_dim
    low, high = np.array(contract.spec.action_low), np.array(contract.spec.action_high)
    gaps: dict[str, float] = {}
    for count in COUNTS:
        worst = 0.0
        for i in range(0, min(len(frames), 16) - 3, 4):
            block = rng.uniform(low, high, (1, a)).astype(np.float32)
            history = History(frames[i : i + 2], np.zeros((2, 0), np.float32), block)
            goal = History.of_goal(frames[i + 3], action_dim=a)
            actions = rng.uniform(low, high, (count, contract.spec.horizon, a)).astype(np.float32)
            ours = model.step_costs(model.encode(history), model.encode(goal), actions)
            theirs = twin.step_costs(twin.encode(history), twin.encode(goal), actions)
            gap = np.max(np.abs(ours - theirs) / np.abs(ours))
            worst = float(np.maximum(worst, gap))  # unlike max() keeps NaN
        gaps[str(count)] = worst
    plan_gap = golden(model, contract, folder, frames)
    used = min(len(frames), 16)
    return {
        "worst": float(np.max(list(gaps.values()))),
        "costs": gaps,
        "plan": plan_gap,
        "frames": used,
    }


def golden(model: WorldModel[Any], contract: Contract, folder: Path, frames: np.ndarray) -> float:
    """Inputs and torch's outputs of the whole planner, and onnxruntime's largest deviation."""
    spec, planner, rng = contract.spec, OnnxPlanner(folder), np.random.default_rng(1)
    a, h = spec.action_dim, spec.horizon
    choice, noise = proposal_chance(rng, contract.proposals - contract.heads, spec)
    inputs = {
        "previous": frames[0], "image": frames[1], "goal": frames[3],
        "action": rng.uniform(spec.action_low, spec.action_high).astype(np.float32),
        "mean": np.zeros((h, a), np.float32),
        "noise": planner.optimizer.draw_noise(rng, h, a, block=spec.block),
        "choice": choice,
        "proposal_noise": noise,
    }  # fmt: skip
    parts, objective = export_parts(model), objective_of(contract)
    module = Planner(parts, model.spec, planner.optimizer, objective).eval()
    with torch.inference_mode():
        outputs = module(*(torch.from_numpy(np.ascontiguousarray(v)) for v in inputs.values()))
    names = ("plan", "cost", "step_costs", "latent")
    wanted = dict(zip(names, (x.numpy() for x in outputs), strict=True))
    np.savez(
        folder / GOLDEN,
        **{f"in_{k}": v for k, v in inputs.items()},
        **{f"out_{k}": v for k, v in wanted.items()},
    )
    got = planner._session.run(None, inputs)
    if not all(np.isfinite(value).all() for value in (*got, *wanted.values())):
        raise WeightsError(
            "NaN or infinity in what the planner graph answers on recorded frames",
            "finite numbers", "check the model: its costs, and what its encoder divides by",
        )  # fmt: skip
    return float(np.abs(got[0] - wanted["plan"]).max())


def bundle_card(contract: Contract, reports: dict[str, Any], folder: Path) -> str:
    """What the bundle is, for people."""
    spec, report = contract.spec, reports["parity"]
    files = [*sorted(folder.glob("*.onnx")), folder / WEIGHTS]
    sizes = [[path.name, f"{path.stat().st_size / 1e6:.1f} MB"] for path in files]
    return card(
        f"Planner bundle: {spec.task}",
        "Reaches a goal image with onnxruntime and NumPy alone. Contract version "
        f"{contract.version}; shapes,\nunits, bounds and parents are in `contract.json` and inside "
        "every file.",
        [
            f"Images: uint8 RGB {spec.image_width}×{spec.image_height}, camera {contract.camera}",
            f"Actions: {contract.action_unit}; one every {spec.control_dt:g} s, "
            f"{spec.control_dim} numbers, planned in blocks of {spec.block}",
            f"Search: {contract.optimizer} {json.dumps(contract.options, sort_keys=True)}, "
            f"{contract.proposals} proposals of the learned actor, {spec.horizon} blocks ahead",
            f"Precision: {contract.precision}; int8 is published only where it reaches as many "
            "goals within a point (`results/export`)",
            f"Parity with torch: costs within {report['worst']:.1e} relative, plan within "
            f"{report['plan']:.1e}",
            *(["Acts by its actor alone unless a search is named"] if contract.alone else []),
            *_latency(reports.get("latency")),
            f"Images whose novelty is above {contract.novelty:.2f} are refused by the controller "
            "(training frames: about 1)",
            "Trained for this scene, camera and robot only; it knows nothing of safety. Limits "
            "belong in the\n  controller.",
        ],
        table(["file", "size"], sizes),
    )


def _latency(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return []
    return [
        f"{row['total_ms_p50']:.0f} ms a plan with encoding (p99 {row['total_ms_p99']:.0f}), "
        f"{row['rss_mb']:.0f} MiB of memory, on {row['threads']} threads of {row['hardware']}"
    ]
