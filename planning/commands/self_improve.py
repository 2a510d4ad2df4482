"""``robot-wm self-improve``: the agent's own episodes go back into the data that its model learns.

Every round the present model practises on goals of training episodes, then its predictor, proposer
and goal distance go on learning on the fixed latent, with a share of the windows from practice (of
a taught model the predictor alone: actor and critic learn from lessons). The same training without
practice (``longer1``, ``longer2``, …) stands beside it: what longer training alone gives is not the
loop's gain. All are judged on validation episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from planning.commands.evaluate import environment
from planning.commands.parts.agents import Folders, recipe
from planning.evaluation.stage import split_pairs
from robot_wm.cli.paths import MIRRORED, PRACTICE
from robot_wm.cli.settings import Settings
from robot_wm.commands.parts.artifacts import dataset, latents, model
from robot_wm.core.aliases import current, stored
from robot_wm.core.config import Count, NonNegative, Within
from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.markdown import table
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_write,
    check_parent,
    check_same,
    provenance,
    read_manifest,
    write_lines,
)
from robot_wm.core.system.progress import say

if TYPE_CHECKING:
    from planning.agent.config import PlannerSettings
    from planning.evaluation.goal_pairs import PairList
    from robot_wm.cli.main import Session


@dataclass(frozen=True)
class ImproveSettings:
    """Rounds of practice, see ``robot-wm self-improve``.

    Attributes:
        rounds: of practice and training.
        episodes: practised per round, one per pair of the training split.
        episodes_per_shard: unit of atomic writing and of parallel work.
        noise: standard deviations added to the actions; an episode draws one.
        options: of the planner's optimiser while practising, over its own, e.g. iterations: 1; a
            smaller search makes nearly the same mistakes in a fraction of the time.
        share: of training windows that come from practice.
        dynamics_steps, lr: steps of every training, and its learning rate.
        interpolation: share of the weights before a round in those after it, see
            ``TrainConfig.interpolation``.
        pairs: validation pairs that judge every model.
    """

    rounds: Count = 1
    episodes: Count = 2000
    episodes_per_shard: Count = 50
    noise: tuple[NonNegative, ...] = (0.0, 0.1, 0.2)
    options: dict[str, Any] = field(default_factory=dict)
    share: Annotated[float, Within(above=0, below=1)] = 0.25
    dynamics_steps: Count = 4000
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    interpolation: Annotated[float, Within(0, below=1)] = 0.5
    pairs: Count = 150

    def __post_init__(self) -> None:
        if not self.noise:
            raise ConfigError("improve.noise = []", "one level or more", "name one")


FAMILIES = ("official", "strict")
MODE1: dict[str, Any] = {"optimizer": "mode1", "proposals": 1, "options": {}}


def run(session: Session) -> int:
    """Run all rounds; print the table's path."""
    settings = session.settings
    first, encoder = model(session, settings.weights)
    out = settings.run_path("improve")
    recorded = [dataset(settings, collection) for collection in settings.train_on]
    mirrored = any(collection.endswith(MIRRORED) for collection in settings.train_on)
    pairs = split_pairs(settings, "validation", settings.improve.pairs)
    rows = scored(settings, pairs, settings.weights, (first, encoder), 0)
    current, control, practice = first, first, list[Path]()
    for turn in range(1, settings.improve.rounds + 1):
        control = _train(settings, f"longer{turn}", recorded, [], encoder, control)
        rows += scored(settings, pairs, f"longer{turn}", (control, encoder), turn)
        practice.append(practised(settings, turn, (current, encoder)))
        if mirrored:
            practice.append(dataset(settings, f"{PRACTICE}{turn}{MIRRORED}"))
        current = _train(settings, f"round{turn}", recorded, practice, encoder, current)
        rows += scored(settings, pairs, f"round{turn}", (current, encoder), turn)
    name = settings.task.name
    write_lines(out / f"{name}.jsonl", rows)
    atomic_write(out / f"{name}.md", gains(rows))
    print(gains(rows))
    print(f"what it gave: {out / f'{name}.md'}")
    return 0


def practice_planner(settings: Settings) -> PlannerSettings:
    """The planner while practising, see ``improve.options``."""
    options = {**settings.planner.options, **settings.improve.options}
    planner: PlannerSettings = replace(settings.planner, options=options)
    return planner


def practised(settings: Settings, turn: int, folders: Folders) -> Path:
    """Episodes of the present model, recorded where they are missing."""
    from planning.evaluation.rollout_collection import PracticeConfig, collect_rollouts
    from robot_wm.data.formats.base import open_episodes

    section, task = settings.improve, settings.task.name
    config = PracticeConfig(
        section.episodes, section.noise, section.episodes_per_shard, turn, settings.workers
    )
    like = open_episodes(dataset(settings, "nominal")).schema
    pairs = split_pairs(settings, "train", config.episodes)
    planner = practice_planner(settings)
    about = {
        "world_model": read_manifest(folders[0], "world_model", verify=False)["sha256"],
        "planner": stored("planner", asdict(planner)),
    }
    collection = f"{PRACTICE}{turn}"
    root = settings.dataset_path(task, collection)
    say(f"practising {config.episodes} goals of {task} into {root}")
    maker = recipe(settings.replace(planner=planner), "jepa", folders)
    return collect_rollouts(
        config, pairs, like, collection, about, root, environment(settings), maker
    )


def _train(
    settings: Settings,
    name: str,
    recorded: Sequence[Path],
    practice: Sequence[Path],
    encoder: Path,
    start: Path,
) -> Path:
    """Predictor, proposer and goal distance of ``start``, trained on; kept if it exists.

    Raises:
        DataError: one exists that began with another model.
        ConfigError: a family that cannot go on training.
    """
    from robot_wm.world_models.base import FineTunes, TrainingData, family_of

    family = family_of(start)
    if not isinstance(family, FineTunes):
        raise ConfigError(
            f"a world model of the family {family.name}, which cannot be trained on",
            "a family with `fine_tuning`", "improve another world model",
        )  # fmt: skip
    section, sets = settings.improve, [*recorded, *practice]
    shares = (
        tuple(
            share / len(part)
            for part, share in ((recorded, 1 - section.share), (practice, section.share))
            for _ in part
        )
        if practice
        else ()
    )
    config = family.fine_tuning(
        settings.train_config(),
        start,
        section.dynamics_steps,
        section.lr,
        section.interpolation,
        shares,
    )
    folder = settings.model_path(f"{settings.name}-{name}")
    if (folder / MANIFEST).is_file():
        made = read_manifest(folder, "world_model", verify=False)
        base = read_manifest(start, "world_model", verify=False)["sha256"]
        check_parent(made, "latent", base)
        wanted = {k: v for k, v in current("train", asdict(config)).items() if k not in family.free}
        check_same(
            folder,
            current("train", made["facts"].get("config", {})),
            wanted,
            f"delete {folder.parent}",
            type(config),
        )
        return folder
    say(f"training {name} on {len(sets)} collections into {folder}")
    data = TrainingData(sets, encoder, partial(latents, settings, encoder))
    return family.train(config, data, folder.parent)


def scored(
    settings: Settings, pairs: PairList, name: str, folders: Folders, turn: int
) -> list[dict[str, Any]]:
    """Success on validation pairs, of the actor alone and of the planner."""
    from planning.evaluation.config import EvaluateConfig
    from planning.evaluation.evaluator import evaluate

    rows = []
    for mode, planner in (
        ("mode1", replace(settings.planner, **MODE1)),
        ("mode2", settings.planner),
    ):
        maker = recipe(settings.replace(planner=planner), "jepa", folders)
        config = EvaluateConfig(
            f"official/{settings.task.name}", "jepa", families=FAMILIES, workers=settings.workers
        )
        result = evaluate(config, pairs, environment(settings), maker)
        success = {f"{f}_pct": 100 * float(result.hits(f).mean()) for f in FAMILIES}
        rows.append(
            {
                "model": name, "round": turn, "mode": mode, "pairs": len(pairs.pairs),
                "split": "validation", "task": settings.task.name, **success,
                "model_sha256": read_manifest(folders[0], "world_model", verify=False)["sha256"],
                **provenance(),
            }
        )  # fmt: skip
    return rows


def gains(rows: Sequence[dict[str, Any]]) -> str:
    """What each round gained, with its heading."""
    return (
        f"# Improvement loop: {rows[0]['task']}\n\n"
        f"Generated by `robot-wm self-improve`. Goals reached [%] of {rows[0]['pairs']} pairs of "
        "validation episodes, one training seed; `longer` has the rounds' training without "
        f"their practice.\n\n{by_model(rows)}"
    )


def by_model(rows: Sequence[dict[str, Any]]) -> str:
    """Goals reached [%] by every model, alone and planning, by both predicates."""
    lines = []
    for name in dict.fromkeys(row["model"] for row in rows):
        found = {row["mode"]: row for row in rows if row["model"] == name}
        cells = [found[m][f"{f}_pct"] for m in ("mode1", "mode2") for f in FAMILIES]
        lines.append([name, *(f"{cell:.1f}" for cell in cells)])
    header = ("model", "actor alone, official", "strict", "planner, official", "strict")
    return table(header, lines)
