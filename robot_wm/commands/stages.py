"""Each stage makes what it needs: artefacts that exist are reused by name, checked by hash."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_wm.commands.settings import MIRRORED, PACKAGE, SEEDS, SHIPPED, Settings
from robot_wm.config import build
from robot_wm.core.json_io import parse_json
from robot_wm.errors import DataError, WeightsError
from robot_wm.manifest import (
    MANIFEST,
    canonical_json,
    check_parent,
    read_json,
    read_manifest,
    storage_root,
)

COMMITTED = "default"  # name of the data whose pair lists stand beside the code

if TYPE_CHECKING:
    from planning.pairs import PairList
    from robot_wm.cli import Session


def say(text: str) -> None:
    """A line for people, on stderr: stdout belongs to results."""
    print(text, file=sys.stderr, flush=True)


def dataset(settings: Settings, collection: str) -> Path:
    """One collection of the task, recorded where episodes are missing.

    Raises:
        DataError: a collection that is not recorded here (practice, a robot's log) is missing.
    """
    from robot_wm.core.records import read_record
    from robot_wm.episodes import SCHEMA, Schema, shard_path
    from sim.collect import collect, stable
    from sim.mirror import mirror

    if collection.endswith(MIRRORED):
        source = dataset(settings, collection.removesuffix(MIRRORED))
        return mirror(source, settings.dataset_path(settings.task.name, collection))
    if collection not in SEEDS:
        root = settings.dataset_path(settings.task.name, collection)
        if not (root / SCHEMA).is_file():
            head, tail = f"{settings.task.name}-", settings.suffix
            kept = sorted(path.parent.name for path in root.parent.glob(f"{head}*{tail}/{SCHEMA}"))
            names = [name.removeprefix(head).removesuffix(tail) for name in kept]
            raise DataError(
                f"no collection {collection!r} in {root}",
                ", ".join([*SEEDS, *(n for n in names if n not in SEEDS)]),
                "practice comes from `robot-wm improve`; put a robot's log or other episodes into "
                "that folder",
            )
        return root
    config = settings.collect_config(collection)
    root = settings.dataset_path(config.task, collection)
    if (root / SCHEMA).is_file():
        stored = read_record(root / SCHEMA, Schema).config
        check_same(root, stored, stable(config), "delete that folder")
    shards = -(-config.episodes // config.episodes_per_shard)
    if all((shard_path(root, index) / MANIFEST).is_file() for index in range(shards)):
        return root
    say(f"collecting {config.episodes} episodes of {config.task}/{collection} into {root}")
    return collect(config, root)


def encoder_datasets(session: Session) -> list[Path]:
    """Every collection of every task that pretrains the encoder."""
    return [
        dataset(session.for_task(task), collection)
        for task in session.settings.encoder_tasks
        for collection in SEEDS
    ]


def encoder(session: Session) -> Path:
    """The frozen encoder's artefact, pretrained if missing.

    Raises:
        WeightsError: shipped weights were asked for and this installation has none.
    """
    settings = session.settings
    folder = settings.encoder_path()
    if (folder / MANIFEST).is_file():
        _check_encoder(session, folder)
        return folder
    if settings.encoder_name == SHIPPED:
        raise _no_weights(folder, "encoder_name")
    from robot_wm.pretrain import pretrain

    parents = encoder_datasets(session)
    say(f"pretraining the encoder {settings.encoder_name!r} on {len(parents)} data sets")
    return pretrain(settings.pretrain_config(), parents, folder.parent)


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
    from robot_wm.episodes import SCHEMA, EpisodeStore

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
            if known and (root / SCHEMA).is_file():
                digest = EpisodeStore(root, verify=False).sha256
                check_same(folder, {root.name: known}, {root.name: digest}, way_out)


def _check_model(settings: Settings, folder: Path) -> None:
    """Whether a stored world model is of this configuration.

    Raises:
        DataError: it is not.
    """
    if find_spec("torch") is None:
        return
    from robot_wm.train import FREE

    stored = read_manifest(folder, "world_model", verify=False)["facts"].get("config", {})
    asked = {k: v for k, v in asdict(settings.train_config()).items() if k not in FREE}
    check_same(folder, stored, asked, f"delete {folder.parent}")


def _no_weights(folder: Path, key: str) -> WeightsError:
    return WeightsError(
        f"no shipped weights in {folder}",
        "an installation with weights, or weights of your own",
        f"give {key}=<name>, e.g. {key}=default; missing stages are made",
    )


def latents(settings: Settings, encoder_folder: Path, data: Path) -> Path:
    """Latent cache of one data set, built if missing."""
    from robot_wm.encoder import FrozenEncoder
    from robot_wm.latents import build_latents

    frozen = FrozenEncoder.load(encoder_folder)
    return build_latents(data, frozen, storage_root() / "latents")


def model(session: Session, name: str | None = None) -> tuple[Path, Path]:
    """Artefacts of a world model and of its encoder; the model is trained if missing.

    Args:
        name: ``shipped`` or a name; the run's own name if None.

    Raises:
        WeightsError: shipped weights were asked for and this installation has none.
        DataError: the model was trained on another encoder.
    """
    settings = session.settings
    folder = settings.model_path(name)
    if name == SHIPPED:
        parent = settings.encoder_path(SHIPPED)
        if not (folder / MANIFEST).is_file():
            raise _no_weights(folder, "weights")
    elif name not in (None, settings.name):
        if not (folder / MANIFEST).is_file():
            raise _no_such_model(settings, str(name))
        parent = _encoder_of(settings, folder)
    else:
        parent = encoder(session)
        if not (folder / MANIFEST).is_file():
            _train(settings, parent, folder)
        _check_model(settings, folder)
        _check_data(settings, folder)
    digest = read_manifest(parent, "encoder", verify=False)["sha256"]
    check_parent(read_manifest(folder, "world_model", verify=False), "encoder", digest)
    return folder, parent


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


def _encoder_of(settings: Settings, folder: Path) -> Path:
    """The stored encoder whose hash a model names."""
    wanted = read_manifest(folder, "world_model", verify=False)["parents"].get("encoder", "")
    candidates = [settings.encoder_path(SHIPPED)]
    candidates += sorted((storage_root() / "encoders").glob("*/encoder"))
    for candidate in candidates:
        if not (candidate / MANIFEST).is_file():
            continue
        if read_manifest(candidate, "encoder", verify=False)["sha256"] == wanted:
            return candidate
    raise DataError(
        f"no encoder {wanted[:12]}… for {folder}", "the encoder it was trained on",
        "copy that encoder below $ROBOT_WM_HOME/encoders, or train again",
    )  # fmt: skip


def _train(settings: Settings, parent: Path, folder: Path) -> None:
    from robot_wm.encoder import FrozenEncoder
    from robot_wm.train import train

    data = [dataset(settings, collection) for collection in settings.train_on]
    caches = [latents(settings, parent, path) for path in data]
    say(f"training the world model of {settings.task.name} into {folder}")
    encoder, watch = FrozenEncoder.load(parent), closed_loop(settings)
    train(settings.train_config(), data, caches, encoder, folder.parent, watch)


def closed_loop(settings: Settings) -> Callable[[Any], dict[str, Any]] | None:
    """Success on validation episodes while training: prediction error does not predict it.

    Never on test episodes. None where ``evaluate.validation`` is 0.
    """
    from planning.evaluate import EvaluateConfig, evaluate
    from robot_wm.commands.agents import mpc
    from sim import make

    count, task = settings.evaluate.validation, settings.task.name
    if not count:
        return None
    pairs = drawn(settings, "validation", count)
    told, planner = EvaluateConfig(f"official/{task}", "jepa"), asdict(settings.planner)

    def watch(model: Any) -> dict[str, Any]:
        result = evaluate(
            told,
            pairs,
            lambda: make(task, settings.image_size),
            lambda spec: mpc(model, planner, mirror=spec.mirror),
        )
        success = 100 * float(result.hits().mean())
        return {"split": "validation", "pairs": count, "success_pct": success}

    return watch


def drawn(settings: Settings, split: str, count: int) -> PairList:
    """Official pairs of the nominal collection for use while training; never of the test split."""
    from planning.draw_pairs import PairsConfig, make_pair_lists
    from robot_wm.episodes import EpisodeStore
    from sim import make

    told = {"family": "official", "count": count, "eval_seeds": (0,), "split": split}
    config = build(PairsConfig, {**vars(settings.pairs_config()), **told}, "pairs")
    env: Any = make(settings.task.name, settings.image_size, draw_images=False)
    store = EpisodeStore(dataset(settings, "nominal"))
    return make_pair_lists(config, store, env.success, env.spec.families)[0]


def _check_data(settings: Settings, folder: Path) -> None:
    """Refuse a model of episodes other than those stored now; without episodes there is no doubt.

    Raises:
        DataError: a data set has grown or was made anew since the model was trained.
    """
    from robot_wm.episodes import SCHEMA, EpisodeStore

    known = read_manifest(folder, "world_model", verify=False)["facts"].get("datasets", [])
    roots = [settings.dataset_path(settings.task.name, name) for name in settings.train_on]
    if not all((root / SCHEMA).is_file() for root in roots):
        return
    stored = [EpisodeStore(root, verify=False).sha256 for root in roots]
    if known != stored:
        raise DataError(
            f"{folder} was trained on other episodes than {', '.join(map(str, roots))} now hold",
            ", ".join(f"{str(digest)[:12]}…" for digest in known),
            f"delete {folder.parent} to train again, or give this run another `name=`",
        )


def pair_list_path(settings: Settings, seed: int, committed: bool) -> Path:
    """Where a pair list lives: in the package or in storage."""
    from planning.pairs import named

    config = settings.pairs_config()
    task = named(settings.task.name, config.family, config.offset)
    # Lists of other splits and draws are other lists, never to be taken for the held-out one.
    other = f"-{config.split}" * (config.split != "test") + f"-draw{config.seed}" * bool(
        config.seed
    )
    name = f"{config.family}-{task}{other}-{seed}.json"
    # Committed lists travel with the package: an evaluation anywhere runs the same pairs.
    return (PACKAGE if committed else settings.run_path("evaluate")) / "pairs" / name


def pair_lists(settings: Settings) -> dict[int, PairList]:
    """The lists of this task by evaluation seed: committed ones if the run's name allows.

    Raises:
        DataError: a stored list is not the one asked for, or of other episodes than are stored.
    """
    from planning.pairs import PairList
    from robot_wm.episodes import SCHEMA, EpisodeStore

    config, found = settings.pairs_config(), {}
    for committed in (True, False) if settings.data_name == COMMITTED else (False,):
        paths = {s: pair_list_path(settings, s, committed) for s in config.eval_seeds}
        if all(path.is_file() for path in paths.values()):
            found = {seed: PairList.load(path) for seed, path in paths.items()}
            break
    if not found:
        return draw_pairs(settings, publish=False)
    asked = {
        "task": settings.task.name, "collection": "nominal", "family": config.family,
        "offset": config.offset, "budget": config.budget, "split": config.split,
        "seed": config.seed, "count": config.count,
    }  # fmt: skip
    root = settings.dataset_path(settings.task.name, "nominal")
    if not committed and (root / SCHEMA).is_file():
        asked["dataset_sha256"] = EpisodeStore(root, verify=False).sha256
    for seed, pairs in found.items():
        stored = {**vars(pairs), "count": len(pairs.pairs), "eval_seed": pairs.eval_seed}
        known = {k: stored[k] for k in (*asked, "eval_seed")}
        check_same(
            paths[seed], known, {**asked, "eval_seed": seed},
            "run `robot-wm pairs` to draw the lists again",
        )  # fmt: skip
    return found


def draw_pairs(settings: Settings, publish: bool) -> dict[int, PairList]:
    """Draw the lists anew from held-out episodes of the nominal collection and write them."""
    from planning.draw_pairs import make_pair_lists
    from robot_wm.episodes import EpisodeStore
    from sim import make

    config = settings.pairs_config()
    store = EpisodeStore(dataset(settings, "nominal"))
    # Gymnasium types `spec` as its own registry entry.
    env: Any = make(settings.task.name, settings.image_size, draw_images=False)

    def eligible(start: Any, goal: Any, between: Any) -> bool:
        return bool(env.task.eligible(between, config.family))

    lists = make_pair_lists(config, store, env.success, env.spec.families, eligible)
    for seed, pairs in lists.items():
        path = pair_list_path(settings, seed, publish)
        pairs.save(path)
        say(f"{path}  {len(pairs.pairs)} pairs  sha256 {pairs.sha256[:12]}…")
    return lists


def first_pairs(pairs: PairList, limit: int) -> PairList:
    """The list, or its first ``limit`` pairs (a list of another identity)."""
    return replace(pairs, pairs=pairs.pairs[:limit]) if limit else pairs
