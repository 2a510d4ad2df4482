"""``robot-wm evaluate``: run methods on the held-out pairs and append result rows."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.build.stage import bundle, kind
from planning.agent.registry import METHODS
from planning.commands.agents import recipe
from planning.commands.calibrate import verdict_of
from planning.evaluation.stage import first_pairs, pair_lists
from robot_wm.cli.artifacts import model
from robot_wm.cli.settings import Settings
from robot_wm.core.storage.provenance import read_json, read_manifest, sha256_of
from robot_wm.core.system.progress import say
from sim.collection.stage import dataset

if TYPE_CHECKING:
    from planning.evaluation.goal_pairs import PairList
    from planning.evaluation.results import EvaluationResult
    from robot_wm.cli.main import Session

Row = dict[str, Any]


def run(session: Session) -> int:
    """Evaluate, print one line per row and the file they went to."""
    rows, path = evaluate_all(session)
    for row in rows:
        interval = f"{row['wilson_low']:.0f}–{row['wilson_high']:.0f}"
        print(
            f"{row['row']} seed {row['eval_seed']} {row['method']:<9} "
            f"{row['success_pct']:5.1f} %  ({interval}, n={row['episodes']})"
            + "".join(f"  {f} {told['success_pct']:.1f} %" for f, told in row["also"].items())
        )
    print(f"rows: {path}")
    return 0


def evaluate_all(session: Session) -> tuple[list[Row], Path]:
    """Every method on every evaluation seed; rows are appended to one file per task and family."""
    from planning.evaluation.results import append_row

    settings = session.settings
    folders = needed_model(session)
    lists = pair_lists(settings)
    path = settings.results / f"{family_of(settings)}-{settings.task.name}.jsonl"
    rows: list[Row] = []
    for seed in settings.evaluate.seeds:
        pairs = first_pairs(_list_of(lists, seed), settings.evaluate.limit)
        floor: float | None = None
        for method in sorted(settings.method, key=lambda name: name != "random"):
            result = run_method(session, method, pairs, folders)
            made = bundle(session) if method == "onnx" else None
            row = result.row(facts(settings, method, folders, made))
            floor = row["success_pct"] if method == "random" else floor
            row["random_pct"] = floor
            append_row(path, row)
            rows.append(row)
    return rows, path


def family_of(settings: Settings) -> str:
    """First part of the name of rows and of their file."""
    asked = settings.evaluate
    if asked.clock:
        return "clock"
    ordered = "goals" if asked.only or asked.via else str(settings.pairs["family"])
    return asked.rows or ordered


def goal_of(settings: Settings) -> Any:
    """What makes the goal pictures; None takes the one of the pair."""
    from robot_wm.core.parallel import Factory

    asked = settings.evaluate
    if not asked.only and not asked.via:
        return None
    told: dict[str, Any] = {"keep": asked.only, "via": asked.via}
    if asked.via:
        told["dataset"] = str(dataset(settings, "nominal"))
    return Factory("sim.goal_images:ordered", told)


def _list_of(lists: dict[int, PairList], seed: int) -> PairList:
    from robot_wm.core.errors import ConfigError

    if seed not in lists:
        raise ConfigError(
            f"evaluation seed {seed}", f"seeds of the pair lists: {sorted(lists)}",
            "add it to pairs.eval_seeds or correct evaluate.seeds",
        )  # fmt: skip
    return lists[seed]


def needed_model(session: Session) -> tuple[Path, Path] | None:
    """World model and encoder if a method needs them, made if missing."""
    if any(METHODS[method].model for method in session.settings.method):
        return model(session, session.settings.weights)
    return None


def sources_of(
    session: Session, method: str, folders: tuple[Path, Path] | None
) -> tuple[Path, Path] | None:
    """What a method's agent is made from: for ``onnx`` the bundle takes the model's place."""
    if method != "onnx":
        return folders
    assert folders is not None  # METHODS says it needs a model
    return bundle(session), folders[1]


def row_config(settings: Settings, method: str, pairs: PairList, train_seed: int | None) -> Any:
    """What the evaluator is told about one row."""
    from planning.evaluation.config import EvaluateConfig

    own: tuple[str, ...] = () if method in ("jepa", "onnx") else (method,)
    own += () if pairs.split == "test" else (pairs.split,)  # never to be taken for held-out
    family, task = pairs.family, pairs.name
    asked = settings.evaluate
    ordered = [f"only_{body}" for body in asked.only] + [f"via{asked.via}"] * (asked.via > 0)
    modifiers = "".join(f"@{m}" for m in (*own, *ordered, *asked.modifiers))
    levels = "".join(f"/{k}:{v}" for k, v in sorted(settings.evaluate.factors.items()))
    clock = settings.evaluate.clock
    rows = family if family_of(settings) == settings.pairs["family"] else family_of(settings)
    name = f"clock/{task}/{clock}" if clock else f"{rows}/{task}"
    extra = dict.fromkeys(f for f in settings.evaluate.families if f != family)
    return EvaluateConfig(
        row=f"{name}{levels}{modifiers}",
        method=method,
        train_seed=train_seed,
        families=(family, *extra),
        inputs=METHODS[method].inputs,
        workers=settings.workers,
        factors=settings.evaluate.factors,
        goal=goal_of(settings),
    )


def environment(settings: Settings, image_size: int = 0) -> Any:
    """Recipe of the scene, drawn as large as the models see it or as told [px]."""
    from robot_wm.core.parallel import Factory

    kwargs = {"task": settings.task.name, "image_size": image_size or settings.image_size}
    return Factory("sim:make", kwargs)


def run_method(
    session: Session, method: str, pairs: PairList, folders: tuple[Path, Path] | None
) -> EvaluationResult:
    """One method on one pair list."""
    from planning.evaluation.evaluator import evaluate

    settings, sources = session.settings, sources_of(session, method, folders)
    where = f" with {settings.provider}" if method == "onnx" else ""
    say(f"evaluating {method} on {len(pairs.pairs)} pairs of {pairs.family}/{pairs.task}{where}")
    # Two processes of two torch threads each would fight for two cores.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1" if settings.workers > 1 else str(settings.threads)
    seed = train_seed(folders) if METHODS[method].model else None
    config = row_config(settings, method, pairs, seed)
    try:
        return evaluate(config, pairs, environment(settings), recipe(settings, method, sources))
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def train_seed(folders: tuple[Path, Path] | None) -> int | None:
    """Seed the world model was trained with, as its manifest says."""
    if folders is None:
        return None
    config = read_manifest(folders[0], "world_model", verify=False)["facts"].get("config", {})
    return config.get("seed")


def facts(
    settings: Settings,
    method: str,
    folders: tuple[Path, Path] | None,
    bundle_folder: Path | None = None,
) -> Row:
    """What a row says about its method, beside what the evaluator measures."""
    from sim.tasks import TASKS

    known, info = METHODS[method], Row(image_size=settings.image_size)
    info |= verdict_of(settings.results, settings.task.name)
    planner = settings.planner_of(method)
    if known.planner:
        optimiser = settings.optimiser(method)
        n, rounds = optimiser.candidates, optimiser.iterations
        seen = known.mirror and planner.mirror and TASKS[settings.task.name].mirror
        info |= {
            "budget_class": f"B{n * rounds}",
            "views": 2 if seen else 1,
            "candidates": n,
            "iterations": rounds,
            "horizon": planner.horizon,
            "execute": planner.execute,
            "optimiser": planner.optimiser,
            "proposals": planner.proposals if known.proposals else 0,
            "planner": asdict(planner),
        }
    if known.model and folders is not None:
        model_manifest = read_manifest(folders[0], "world_model", verify=False)
        shape = read_json(folders[1] / "config.json")["encoder"]
        info |= {
            "backend": f"onnx{kind(settings)}" if method == "onnx" else "torch",
            "provider": settings.provider if method == "onnx" else None,
            "encoder_id": f"vit-{shape['width']}x{shape['depth']}-p{shape['patch']}",
            "encoder_sha256": model_manifest["parents"]["encoder"],
            "frozen": True,
            "model_sha256": model_manifest["sha256"],
            "weights": settings.weights,
        }
        if method == "onnx" and bundle_folder is not None:
            made = read_manifest(bundle_folder, "bundle", verify=False)
            info["bundle_sha256"] = made["sha256"]
    told = {"settings": asdict(settings.evaluate), "planner": asdict(planner)}
    return {**info, "config_sha256": sha256_of({**told, "method": method})}
