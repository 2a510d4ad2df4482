"""``robot-wm benchmark``: rendering, encoding, training, planning on this machine, in numbers."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from planning.agent.build import mpc
from robot_wm.cli.paths import CHECKOUT
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import tasks, tasks_here
from robot_wm.core.images import sides
from robot_wm.core.instantiate import locate
from robot_wm.core.storage.provenance import provenance, write_lines
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.core.protocols import WorldModel

PLANS = 20


def run(session: Session) -> int:
    """Measure with the configured sizes and untrained weights: speed does not depend on them."""
    from robot_wm.world_models.jepa.benchmark import bench_encode, bench_training

    settings = session.settings
    config, frozen = settings.train_config(), untrained_encoder(settings)
    rows = rendering(settings)
    say("encoding")
    rows.append(bench_encode(frozen, threads=settings.threads))
    say("training")
    control, block = control_dim(settings), settings.collect.frame_every
    shape = (*tokens_of(frozen), control * block, control)
    columns = frozen.config.grid[1]
    rows.append(bench_training(config, *shape, columns=columns, threads=settings.threads))
    say("planning")
    rows.append(planning(settings, untrained_model(settings, frozen)))
    for row in rows:
        print(line(row))
    folder = CHECKOUT / "results" / "bench" if settings.publish else settings.run_path("bench")
    path = folder / "bench.jsonl"
    write_lines(path, rows)
    print(f"rows: {path}")
    return 0


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    if row["bench"] == "render":
        return (
            f"render {row['task']:<15} {row['fast_fps']:8.0f} frames/s and core, "
            f"{row['ratio']:.1f}x MuJoCo's default quality"
        )
    if row["bench"] == "plan":
        parts = ", ".join(f"{p} {row[f'{p}_ms_mean']:.1f}" for p in ("encode", "rollout", "rest"))
        return (
            f"plan   {row['optimiser']:<9} {row['total_ms_mean']:8.1f} ms = {parts} (means; "
            f"the median plan takes {row['total_ms_p50']:.1f})"
        )
    rate = f"{row['rate']:8.0f} {row['unit']}"
    return f"{row['bench']:<16} {rate}, {row['ratio']:.2f} of a matrix product's speed"


def rendering(settings: Settings) -> list[dict[str, Any]]:
    """One row per scene that can be made here."""
    rows: list[dict[str, Any]] = []
    measure = locate("sim.benchmark.bench_rendering")
    for task in tasks_here(tasks()):
        say(f"rendering {task}")
        measured: dict[str, Any] = {**measure(task, size=settings.image_size)}
        rows.append({"bench": "render", "task": task, **measured, **provenance()})
    return rows


def control_dim(settings: Settings) -> int:
    """Numbers in a control action of the task."""
    return int(tasks()[settings.task.name].control_dim)


def untrained_encoder(settings: Settings) -> Any:
    """An encoder of the configured shape; of one that is pretrained, with random weights."""
    from robot_wm.encoders.base import ENCODERS, Untrained, load_encoder

    own = settings.encoder_family
    family: Any = own if isinstance(own, Untrained) else ENCODERS["random"]
    with TemporaryDirectory() as folder:
        made = Path(folder) / "encoder"
        return load_encoder(family.create(settings.encoder_config(), settings.seed, made))


def tokens_of(encoder: Any) -> tuple[int, int]:
    """Tokens of a frame and numbers of each, as they come out."""
    frame = np.zeros((1, *sides(encoder.config.image_size), 3), np.uint8)
    positions, width = encoder.encode_frames(frame).shape[1:]
    return positions, width


def untrained_model(settings: Settings, frozen: Any) -> WorldModel[Any]:
    """A world model of the configured sizes."""
    import torch

    from robot_wm.core.protocols import ModelSpec
    from robot_wm.world_models.jepa.artifact import layer_norm_of
    from robot_wm.world_models.jepa.model import CONTEXT, JEPAWorldModel
    from robot_wm.world_models.jepa.network import Network, Sizes, candidate_bytes

    config, block = settings.train_config(), settings.collect.frame_every
    control, (rows, columns) = control_dim(settings), frozen.config.grid
    positions, width = tokens_of(frozen)
    own: dict[str, Any] = {
        "positions": positions,
        "columns": 0 if rows == columns else columns,
        "encoder_width": width,
        "layer_norm": layer_norm_of(frozen),
        "action": control * block,
    }
    shared = {f.name: getattr(config, f.name) for f in fields(Sizes) if hasattr(config, f.name)}
    sizes = Sizes(**own, **shared)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = Network(sizes)
    network.requires_grad_(False)
    spec = ModelSpec(
        task=settings.task.name,
        action_low=(-1.0,) * control * block,
        action_high=(1.0,) * control * block,
        control_dim=control,
        control_dt=tasks()[settings.task.name].control_dt,
        context=CONTEXT,
        horizon=sizes.horizon,
        image_size=settings.image_size,
        bytes_per_candidate=candidate_bytes(sizes),
    )
    return JEPAWorldModel(network, frozen, spec, config.cost)


def planning(settings: Settings, model: WorldModel[Any]) -> dict[str, Any]:
    """Wall time of a plan, part by part."""
    import numpy as np

    from planning.agent.timing.profiling import bench_plan

    shape, rng = (*sides(settings.image_size), 3), np.random.default_rng(settings.seed)
    goal, seen = (
        {"image": rng.integers(0, 256, shape, np.uint8), "proprio": np.zeros(0)} for _ in range(2)
    )
    row = bench_plan(mpc(model, asdict(settings.planner)), goal, seen, PLANS, settings.seed)
    proposals, threads = settings.planner.proposals, settings.threads
    return {**row, "threads": threads, "proposals": proposals}
