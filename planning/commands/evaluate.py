"""``robot-wm evaluate``: run methods on the held-out pairs and append result rows."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.agent.registry import AgentRecipe
from planning.commands.calibrate import verdict_of
from planning.commands.parts.agents import Folders, agent_of, planner_of, recipe
from planning.evaluation.stage import first_pairs, pair_lists
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import bundle, dataset, make, model, tasks
from robot_wm.core.aliases import stored
from robot_wm.core.instantiate import deferred
from robot_wm.core.storage.provenance import read_json, read_manifest, sha256_of
from robot_wm.core.system.progress import say

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
            + "".join(
                f"  {f} {metrics['success_pct']:.1f} %"
                for f, metrics in row["secondary_metrics"].items()
            )
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
            made = bundle(session) if uses_bundle(agent_of(settings, method)) else None
            row = result.row(facts(settings, method, folders, made))
            floor = row["success_pct"] if method == "random" else floor
            row["random_pct"] = floor
            append_row(path, row)
            rows.append(row)
    return rows, path


def family_of(settings: Settings) -> str:
    """First part of the name of rows and of their file."""
    section = settings.evaluate
    if section.clock:
        return "clock"
    ordered = "goals" if section.only or section.via else settings.pairs.family
    return section.rows or ordered


def goal_of(settings: Settings) -> Any:
    """What makes the goal pictures; None takes the one of the pair."""
    section = settings.evaluate
    if not section.only and not section.via:
        return None
    options: dict[str, Any] = {"keep": section.only, "via": section.via}
    if section.via:
        options["dataset"] = str(dataset(settings, "nominal"))
    return deferred("sim.goal_images.goals_for_pair", **options)


def _list_of(lists: dict[int, PairList], seed: int) -> PairList:
    from robot_wm.core.errors import ConfigError

    if seed not in lists:
        raise ConfigError(
            f"evaluation seed {seed}", f"seeds of the pair lists: {sorted(lists)}",
            "add it to pairs.eval_seeds or correct evaluate.seeds",
        )  # fmt: skip
    return lists[seed]


def needed_model(session: Session) -> Folders | None:
    """World model and encoder if a method needs them, made if missing."""
    settings = session.settings
    if any(agent_of(settings, method).needs_model for method in settings.method):
        return model(session, settings.weights)
    return None


def uses_bundle(known: AgentRecipe) -> bool:
    """Whether an agent plans with the exported files."""
    return known.needs_model and known.backend == "onnx"


def sources_of(
    session: Session, method: str | AgentRecipe, folders: Folders | None
) -> Folders | None:
    """What a method's agent is made from: for ``onnx`` the bundle takes the model's place."""
    known = agent_of(session.settings, method) if isinstance(method, str) else method
    if not uses_bundle(known):
        return folders
    assert folders is not None  # its recipe says that it needs a model
    return bundle(session), folders[1]


def name_in_rows(known: AgentRecipe, folders: Folders | None) -> str:
    """What rows call a method; one that plans with a trained model in torch, by its family."""
    if folders is None or (known.agent, known.backend) != ("mpc", "torch"):
        return known.name
    facts = read_manifest(folders[0], "world_model", verify=False)["facts"]
    return str(facts.get("family", known.name))


def row_config(settings: Settings, method: str, pairs: PairList, train_seed: int | None) -> Any:
    """What the evaluator is told about one row."""
    from planning.evaluation.config import EvaluateConfig

    known = agent_of(settings, method)
    # Part of every episode's seed: never another one for another spelling of the method.
    own: tuple[str, ...] = () if known.agent == "mpc" else (known.name,)
    own += () if pairs.split == "test" else (pairs.split,)  # never to be taken for held-out
    family, task = pairs.family, pairs.name
    section = settings.evaluate
    ordered = [f"only_{body}" for body in section.only] + [f"via{section.via}"] * (section.via > 0)
    modifiers = "".join(f"@{m}" for m in (*own, *ordered, *section.modifiers))
    levels = "".join(f"/{k}:{v}" for k, v in sorted(settings.evaluate.factors.items()))
    clock = settings.evaluate.clock
    rows = family if family_of(settings) == settings.pairs.family else family_of(settings)
    name = f"clock/{task}/{clock}" if clock else f"{rows}/{task}"
    extra = dict.fromkeys(f for f in settings.evaluate.families if f != family)
    return EvaluateConfig(
        row=f"{name}{levels}{modifiers}",
        method=known.name,
        train_seed=train_seed,
        families=(family, *extra),
        inputs=known.inputs,
        workers=settings.workers,
        factors=settings.evaluate.factors,
        goal=goal_of(settings),
    )


def environment(settings: Settings, image_size: int = 0) -> Any:
    """Recipe of the scene, drawn as large as the models see it or as told [px]."""
    size = image_size or settings.image_size
    return deferred("sim.make", task=settings.task.name, image_size=size)


def run_method(
    session: Session, method: str, pairs: PairList, folders: tuple[Path, Path] | None
) -> EvaluationResult:
    """One method on one pair list."""
    from planning.evaluation.evaluator import evaluate

    settings, sources = session.settings, sources_of(session, method, folders)
    known = agent_of(settings, method)
    where = f" with {settings.provider}" if uses_bundle(known) else ""
    say(f"evaluating {method} on {len(pairs.pairs)} pairs of {pairs.family}/{pairs.task}{where}")
    # Two processes of two torch threads each would fight for two cores.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1" if settings.workers > 1 else str(settings.threads)
    seed = train_seed(folders) if known.needs_model else None
    config = row_config(settings, method, pairs, seed)
    config = replace(config, method=name_in_rows(known, folders))
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
    configured = {
        "settings": asdict(settings.evaluate),
        "planner": stored("planner", asdict(planner)),
    }
    return {**info, "config_sha256": sha256_of({**configured, "method": known.name})}


def encoder_id(folder: Path) -> str:
    """A short name of a stored encoder: its family and, of ours, its shape."""
    family = read_manifest(folder, "encoder", verify=False)["facts"].get("family", "vit")
    shape = read_json(folder / "config.json").get("encoder", {})
    sizes = f"-{shape['width']}x{shape['depth']}-p{shape['patch']}" if family == "vit" else ""
    return f"{family}{sizes}"
