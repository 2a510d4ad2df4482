"""``robot-wm compare-objectives``: one encoder, pretrained in many ways, probed in one table.

Every objective gets the same episodes, the same encoder and equal steps or, with
``objectives.minutes``, equal processor time; its options are those of its YAML file. Beside the
probes there is a curve: what the monitor measured against processor time and pictures seen, from
which it follows how much sooner one objective knows what another one knows in the end. What exists
is kept: an interrupted run goes on, and runs of other seeds or objectives add their rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.ablate_encoder import Row, check, probed, references
from robot_wm.commands.parts.artifacts import encoder_datasets
from robot_wm.core.config import Count, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.json_io import read_lines
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_write,
    provenance,
    read_json,
    write_json,
    write_lines,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from robot_wm.cli.main import Session
    from robot_wm.cli.settings import Settings

METERS = ("S/S0", "rankme", "participation")
TRIAL = 24  # steps that tell what a step costs


@dataclass(frozen=True)
class ObjectivesSettings:
    """The comparison of pretraining objectives.

    Attributes:
        names: names of YAML files in ``configs/objective``.
        minutes: processor minutes of pretraining for each; 0 gives each ``pretrain.steps``.
        points: of each learning curve.
        reference: objective whose final knowledge the others are timed to reach.

    Raises:
        ConfigError: an objective twice, or none.
    """

    names: tuple[str, ...] = (
        "vjepa", "vjepa_plain", "ijepa", "iwm", "vicreg", "barlow_twins", "sigreg", "mae",
        "videomae",
    )  # fmt: skip
    minutes: Annotated[float, Within(0, 100_000)] = 0.0
    points: Count = 8
    reference: str = "videomae"

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"objectives.names = {list(self.names)}", "one or more, each once",
                "correct the list",
            )  # fmt: skip


def run(session: Session) -> int:
    """Pretrain and probe with every objective; write rows, curves and a table."""
    chosen = session.settings.objectives
    session.settings.check_pretrains()
    steps = session.settings.pretrain_config().steps
    label = f"{chosen.minutes:g}min" if chosen.minutes else str(steps)
    runs = session.settings.run_path("compare-objectives")
    out = runs / label / f"seed{session.settings.seed}"
    each = {name: with_objective(session, name) for name in chosen.names}
    for name, settings in each.items():
        check(name, settings)
    rows, points = list[Row](), list[Row]()
    for name, settings in each.items():
        if chosen.minutes:
            settings = _paced(session, settings, out / name, chosen.minutes)
        every = max(1, settings.pretrain_config().steps // chosen.points)
        settings = settings.replace(pretrain={**settings.pretrain, "monitor_every": every})
        found = probed(session, settings, out / name)
        curve = curve_of(out / name / "log.jsonl", 2 * settings.pretrain_config().batch)
        known = {"objective": name, "seed": settings.seed}
        points += [{**known, **point, **provenance()} for point in curve]
        last = _costs(curve)
        meters = read_json(out / name / "encoder" / MANIFEST)["facts"]["monitors"]
        rows += [{**known, **last, **_meters(meters, row["task"]), **row} for row in found]
    first = next(iter(each))
    for row in references(session, each[first], out / first / "encoder", out):
        rows.append({"objective": row["kind"], "seed": session.settings.seed, **row})
    where = CHECKOUT / "results" / "encoder" if session.settings.publish else runs
    rows = _merged(where / f"objectives-{label}.jsonl", rows)
    points = _merged(where / f"objectives-{label}-curve.jsonl", points)
    atomic_write(where / f"objectives-{label}.md", overview(rows, points, chosen.reference))
    print(f"table: {where / f'objectives-{label}.md'}")
    return 0


def with_objective(session: Session, name: str) -> Settings:
    """The settings with another objective and what its YAML files say of it."""
    from robot_wm.cli.main import compose

    others = [o for o in session.overrides if not o.lstrip("+~").startswith("objective")]
    return compose([*others, f"objective={name}"])


def _paced(session: Session, settings: Settings, folder: Path, minutes: float) -> Settings:
    """The settings with as many steps as the minutes hold, told once by a short trial."""
    from robot_wm.pretraining.trainer import pretrain

    told, trial = folder / "steps.json", folder / "trial"
    if not told.is_file():
        say(f"timing {TRIAL} steps of {folder.name}")
        config = replace(
            settings.pretrain_config(), steps=TRIAL, monitor_every=0, log_every=TRIAL // 3
        )
        shutil.rmtree(trial, ignore_errors=True)
        pretrain(config, encoder_datasets(session), trial)
        # The first third has caches to fill.
        slow = [line["cpu_s"] for line in read_lines(trial / "log.jsonl") if "cpu_s" in line][1:]
        shutil.rmtree(trial, ignore_errors=True)
        write_json(told, max(1, round(60 * minutes * len(slow) / sum(slow))))
    return settings.replace(pretrain={**settings.pretrain, "steps": int(read_json(told))})


def curve_of(log: Path, pictures: int) -> list[Row]:
    """What a pretraining's log knew, data set by data set, against what it had cost.

    Args:
        log: of a pretraining with a monitor.
        pictures: seen in one step.

    Returns:
        Rows with ``dataset``, ``step``, ``cpu_minutes`` of training alone, ``samples`` (pictures
        seen) and what the monitor measured.
    """
    rows, spent, before, cost = list[Row](), 0.0, 0, 0.0
    for line in read_lines(log):
        if line.get("kind") == "train":
            cost = line["cpu_s"]
            spent += cost * (line["step"] - before)
            before = line["step"]
        elif line.get("kind") == "monitor":
            # Since the last line of training, steps cost what they did before.
            minutes = (spent + cost * (line["step"] - before)) / 60
            paid = {"step": line["step"], "cpu_minutes": round(minutes, 4),
                    "samples": line["step"] * pictures}  # fmt: skip
            rows += [{"dataset": name, **paid, **found} for name, found in line["data"].items()]
    return rows


def knowledge(point: Mapping[str, Any]) -> float:
    """Mean R² of the angles of a point of a curve, which are the sharpest; of all, without any."""
    angles = [v for key, v in point.items() if key.startswith(("r2 cos ", "r2 sin "))]
    return _mean(angles or [v for key, v in point.items() if key.startswith("r2 ")])


def places(point: Mapping[str, Any]) -> float:
    """Mean R² of the positions of a point of a curve; not a number where there are none."""
    return _mean([v for key, v in point.items() if key.startswith("r2 ") and key.endswith("[m]")])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def efficiency(points: Sequence[Row], reference: str) -> list[Row]:
    """How much sooner each objective knows what the reference knows in the end.

    Returns:
        One row per objective, seed and data set: ``cpu_ratio`` and ``samples_ratio``, the
        reference's whole cost over the cost at which the curve, straight between its points, first
        reaches the reference's last R² (``wanted``; ``gained`` over its weights before the first
        step, without which the ratio tells nothing); None where it never does. The same of the
        positions, ``places_…``.
    """
    curves: dict[tuple[str, int, str], list[Row]] = {}
    for point in points:
        curves.setdefault((point["objective"], point["seed"], point["dataset"]), []).append(point)
    rows = []
    for (name, seed, data), curve in curves.items():
        goal = curves.get((reference, seed, data))
        if goal is None or name == reference:
            continue
        row: Row = {"objective": name, "seed": seed, "dataset": data, "reference": reference}
        for prefix, known in (("", knowledge), ("places_", places)):
            wanted, reached = known(goal[-1]), known(curve[-1])
            row |= {f"{prefix}gained": wanted - known(goal[0]), f"{prefix}wanted": wanted,
                    f"{prefix}reached": reached}  # fmt: skip
            for key in ("cpu_minutes", "samples"):
                cost = _cost_of(curve, known, wanted, key)
                ratio = goal[-1][key] / cost if cost else None
                row[f"{prefix}{key.removesuffix('_minutes')}_ratio"] = ratio
        rows.append(row)
    return rows


def _cost_of(
    curve: Sequence[Row], known: Callable[[Row], float], wanted: float, key: str
) -> float | None:
    """Where a curve first reaches a value; None if nowhere, or before it has cost anything."""
    for before, after in pairwise(curve):
        low, high = known(before), known(after)
        if high >= wanted:
            share = (wanted - low) / (high - low) if high > low else 0.0
            return float(before[key] + min(1.0, max(0.0, share)) * (after[key] - before[key]))
    return None


def _costs(curve: Sequence[Row]) -> Row:
    return {key: curve[-1][key] for key in ("cpu_minutes", "samples")} if curve else {}


def _meters(monitors: Mapping[str, Mapping[str, float]], task: str) -> Row:
    """Collapse meters of the task's nominal episodes."""
    mine = [found for name, found in monitors.items() if name.startswith(f"{task}-nominal")]
    return {key: mine[0][key] for key in METERS} if mine else {}


def _merged(path: Path, rows: Sequence[Row]) -> list[Row]:
    """Rows on file of other objectives and seeds, then these; written."""
    fresh = {(row["objective"], row["seed"]) for row in rows}
    kept = read_lines(path) if path.is_file() else []
    merged = [row for row in kept if (row["objective"], row["seed"]) not in fresh] + list(rows)
    write_lines(path, merged)
    return merged


def overview(rows: Sequence[Row], points: Sequence[Row], reference: str) -> str:
    """The attentive probe's R² with collapse meters and costs, and the ledger of efficiency."""
    lines: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        line = lines.setdefault((row["objective"], row["seed"], row["task"]), {**row})
        if row["r2"] is not None and (row["probe"] == "attentive" or row["factor"] not in line):
            line[row["factor"]] = row["r2"]
    factors = list(dict.fromkeys(row["factor"] for row in rows if row["r2"] is not None))
    head = ("objective", "seed", "task", "steps", "cpu_minutes", "samples", *METERS)
    body = [
        [*(_cell(line.get(key)) for key in head), *(_cell(line.get(f)) for f in factors)]
        for line in lines.values()
    ]
    ledger = efficiency(points, reference)
    text = [
        "# One encoder, pretrained in many ways", "",
        "Generated by `robot-wm compare-objectives`. R² of the attentive probe on held-out "
        "episodes; collapse meters of held-out frames (S/S0 below .05: collapsed to positions).",
        "", table([*head, *factors], body),
    ]  # fmt: skip
    if ledger:
        text += [
            f"How much sooner what `{reference}` knows in the end is known (kernel probe, mean R² "
            "of the angles, and of positions), and how much of it was gained by its training; "
            "above 1: sooner; –: never.", "",
            table(list(ledger[0]), [[_cell(value) for value in row.values()] for row in ledger]),
        ]  # fmt: skip
    return "\n".join(text)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
