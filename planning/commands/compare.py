"""``robot-wm compare``: world models side by side, by the names of their YAML files.

Each is trained on the same episodes and encoder with what the experiment says of it, plans with the
same planner on the same pairs, and is asked for its surprise. What exists is not made again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planning.commands.evaluate import environment, family_of, row_config, train_seed
from planning.commands.parts.agents import Folders, recipe
from planning.commands.physics import Clips, accuracy, ask, both_splits
from planning.comparison.acceptance import meters_of
from planning.comparison.results import FOLDER, Row, add_row, find, render
from planning.evaluation.overlays import parse_overlay
from planning.evaluation.stage import first_pairs, pair_lists
from robot_wm.cli.compose import Session, compose
from robot_wm.cli.paths import CHECKOUT
from robot_wm.commands.parts.artifacts import encoder, model, training_data
from robot_wm.core.config import unknown
from robot_wm.core.errors import ConfigError
from robot_wm.core.instantiate import locate
from robot_wm.core.protocols import Surprising
from robot_wm.core.registry import yaml_files
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_write,
    provenance,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from planning.evaluation.goal_pairs import PairList
    from planning.evaluation.results import EvaluationResult
    from robot_wm.cli.settings import Settings

CLIPS = 3  # shown on the page


@dataclass(frozen=True)
class CompareSettings:
    """World models to compare.

    Attributes:
        models: names of ``configs/world_model``.
        overlays: noise over everything seen, new in every frame or fixed through an episode, with
            its standard deviation in shares of full brightness; empty measures without.
        costs: further step costs that the models which have them plan with as well, beside their
            own: of models that draw ``pixels`` and ``shared``, of ours ``latent`` and ``distance``.
    """

    models: tuple[str, ...] = ("jepa",)
    overlays: tuple[str, ...] = ("new:0.1", "fixed:0.1")
    costs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = yaml_files()["world_model"]
        for name in self.models:
            if name not in known:
                raise unknown("world model in compare.models:", name, known)
        if not self.models or len({*self.models}) < len(self.models):
            raise ConfigError(
                f"compare.models = {list(self.models)}", "one name or more, each once",
                f"name some of {', '.join(known)}",
            )  # fmt: skip
        for name in self.overlays:
            parse_overlay(name)


def run(session: Session) -> int:
    """Train, evaluate and ask every model; print the table, write rows and the page."""
    from planning.comparison.page import render_page

    settings = session.settings
    sessions = {name: variant(session, name) for name in settings.compare.models}
    clips, pairs = both_splits(settings), held_out(settings)
    results = CHECKOUT / "results" if settings.publish else settings.run_path("compare")
    path = results / FOLDER / f"{settings.task.name}.jsonl"
    rows, dreams = list[Row](), dict[str, Any]()
    shown = [pair for found in clips[0].values() for pair in found[:1]][:CLIPS]
    for name, own in sessions.items():
        folders, spent = trained(own)
        rows.append(measured(own, name, folders, spent, clips, pairs, path))
        dreams[name] = _dreams(folders, shown)
    task, came = settings.task.name, [pair.possible for pair in shown]
    page = settings.run_path("compare") / f"compare-{task}.html"
    atomic_write(page, render_page(task, rows, came, dreams))
    print(render(rows))
    print(f"page: {page}\nrows: {path}")
    return 0


def variant(session: Session, name: str, called: str = "", words: tuple[str, ...] = ()) -> Session:
    """The run with another world model: its own name, the data and encoder of this one.

    Args:
        called: that name; without one, the run's with the model's behind it.
        words: further overrides.

    Raises:
        ConfigError: an option that this model does not have; none is trained then.
    """
    settings = session.settings
    named = ("name=", "data_name=", "encoder_name=", "weights=", "method=")
    theirs = ("world_model", *named)
    kept = [o for o in session.overrides if not o.lstrip("+~").startswith(theirs)]
    called = called or f"{settings.name}-{name}"
    overrides = (
        *kept, f"world_model={name}", f"name={called}", f"weights={called}", "method=mpc",
        f"data_name={settings.data_name}", f"encoder_name={settings.encoder_name}",
        "evaluate.validation=0", *words,
    )  # fmt: skip
    made = compose(overrides)
    made.check()
    return Session(made, overrides)


def trained(session: Session) -> tuple[Folders, dict[str, Any]]:
    """A model with its encoder, trained if missing, and what its training took.

    What all share is made before the clock starts. A model that was there without a note of its
    training has none.
    """
    settings = session.settings
    folder, note = settings.model_path(), settings.run_path("compare") / "training.json"
    parent = encoder(session)
    if not (folder / MANIFEST).is_file():
        training_data(settings, settings.train_on, parent)
        memory = locate("export.runtime.process_memory.memory_mb")
        wall, cpu, before = time.monotonic(), time.process_time(), _fresh_peak(memory)
        folders = model(session)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        seen = samples(settings.train_config())
        write_json(note, {
            "sha256": read_manifest(folder, "world_model", verify=False)["sha256"],
            "cpu_minutes": round(cpu / 60, 3),
            "peak_mb": round(memory()[1], 1) if before else None,
            "samples_per_s": round(seen / wall, 2) if seen else None,
        })  # fmt: skip
    folders = model(session)
    spent = read_json(note) if note.is_file() else {}
    same = spent.get("sha256") == read_manifest(folder, "world_model", verify=False)["sha256"]
    keys = ("cpu_minutes", "peak_mb", "samples_per_s")
    return folders, {key: spent[key] if same else None for key in keys}


def _fresh_peak(memory: Any) -> bool:
    """Forget the largest memory this process has had; whether the system lets us."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    now, most = memory()
    return bool(most < 1.05 * now + 16)


def samples(config: Any) -> int:
    """Training samples of a configuration: every ``…steps`` times the batch of that stage."""
    names = {item.name for item in fields(config)}
    total = 0
    for name in names:
        if name == "steps" or name.endswith("_steps"):
            own = f"{name.removesuffix('steps')}batch"
            batch = getattr(config, own if own in names else "batch", 0)
            total += getattr(config, name) * (batch or 0)
    return total


def measured(
    session: Session,
    name: str,
    folders: Folders,
    spent: dict[str, Any],
    clips: tuple[Clips, Clips],
    pairs: PairList,
    path: Path,
) -> Row:
    """A model's row: that on file where nothing has changed, or measured and added."""
    from robot_wm.encoders.base import untrained_family
    from robot_wm.training.checkpoint import load_artifact
    from robot_wm.world_models.base import load_world_model

    settings, section = session.settings, session.settings.physics
    digest = read_manifest(folders[0], "world_model", verify=False)["sha256"]
    asked = {
        "model": digest, "pairs": pairs.sha256, "planner": asdict(settings.planner),
        "clips": asdict(section), "overlays": list(settings.compare.overlays),
    }  # fmt: skip
    if settings.compare.costs:
        asked["costs"] = list(settings.compare.costs)
    identity = {
        "task": settings.task.name, "model": name, "train_seed": train_seed(folders),
        "asked_sha256": sha256_of(asked),
    }  # fmt: skip
    if (known := find(path, identity)) is not None:
        say(f"{name}: its row is there")
        return known
    clean = evaluated(session, name, pairs, folders, "")
    noisy = {o: evaluated(session, name, pairs, folders, o) for o in settings.compare.overlays}
    costs = {
        cost: evaluated(_with_cost(session, cost), name, pairs, folders, "", f"cost {cost}")
        for cost in settings.compare.costs
        if _has_cost(folders, cost)
    }
    told = clean.row({"config_sha256": identity["asked_sha256"]})
    able = isinstance(load_world_model(*folders), Surprising)
    facts = read_manifest(folders[0], "world_model", verify=False)["facts"]
    family = facts.get("family", name)
    strict = told["secondary_metrics"].get("strict", {}).get("success_pct")
    row = {
        **identity, **spent, **provenance(),
        "success_pct": told["success_pct"],
        "strict_pct": told["success_pct"] if clean.families[0] == "strict" else strict,
        "overlays": {o: _share(result) for o, result in noisy.items()},
        "costs": {cost: _share(result) for cost, result in costs.items()},
        "surprise_pct": accuracy(ask(settings, folders, clips, True), family) if able else None,
        "plan_ms": told["latency_ms_p50"],
        "meters": meters_of(facts),
        "encoder": untrained_family(folders[1]),
        "parameters": sum(t.numel() for t in load_artifact(folders[0], "world_model")[0].values()),
        **{key: told[key] for key in (
            "episodes", "successes", "wilson_low", "wilson_high", "pair_list_sha256", "eval_seed",
            "first_hit", "threads", "workers",
        )},
        "model_sha256": digest, "planner": asdict(settings.planner),
    }  # fmt: skip
    add_row(path, row)
    return row


def _share(result: EvaluationResult) -> float:
    """Goals reached [%]."""
    return round(100 * float(result.hits().mean()), 4)


def _has_cost(folders: Folders, cost: str) -> bool:
    """Whether a model can plan with that step cost."""
    from robot_wm.world_models.base import load_world_model

    try:
        load_world_model(*folders, cost)
    except ConfigError:
        return False
    return True


def _with_cost(session: Session, cost: str) -> Session:
    """The run with another step cost."""
    settings = session.settings
    return replace(session, settings=settings.replace(planner=replace(settings.planner, cost=cost)))


def evaluated(
    session: Session, name: str, pairs: PairList, folders: Folders, overlay: str, how: str = ""
) -> EvaluationResult:
    """One model on the pairs, with noise over what it sees; the strict predicate is scored, too."""
    from planning.evaluation.evaluator import evaluate

    settings = session.settings
    how = f"{overlay} noise" if overlay else how
    say(f"evaluating {name} on {len(pairs.pairs)} pairs{f', {how}' * bool(how)}")
    config = row_config(settings, "mpc", pairs, train_seed(folders))
    known = locate("sim.tasks.TASKS")[settings.task.name].predicates
    extra = [f for f in ("strict",) if f in known and f not in config.families]
    config = replace(
        config, method=name, overlay=overlay, families=(*config.families, *extra)
    )  # fmt: skip
    return evaluate(config, pairs, environment(settings), recipe(settings, "mpc", folders))


def held_out(settings: Settings) -> PairList:
    """The pair list of the first evaluation seed, as long as asked for.

    Raises:
        ConfigError: rows of another kind than plain ones.
    """
    if family_of(settings) != settings.pairs.family:
        raise ConfigError(
            f"compare with rows of {family_of(settings)}", f"those of {settings.pairs.family}",
            "leave evaluate.clock, only, via, words and rows empty",
        )  # fmt: skip
    lists = pair_lists(settings)
    return first_pairs(lists[settings.evaluate.seeds[0]], settings.evaluate.limit)


def _dreams(folders: Folders, shown: list[Any]) -> list[Any]:
    """What a model imagines of each clip."""
    from planning.comparison.page import imagined
    from robot_wm.world_models.base import load_world_model

    able = load_world_model(*folders, illustrate=True)
    return [imagined(able, pair.possible, pair.actions) for pair in shown]
