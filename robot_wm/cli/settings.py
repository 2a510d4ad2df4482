"""The typed root of the configuration, and the stage configurations that are made from it.

Sections that belong to a stage (``pretrain``, ``train``, …) stay mappings here, because their
dataclasses live in rooms that import torch or MuJoCo; the methods build them, strictly, on demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from robot_wm.cli.paths import CHECKOUT, PACKAGE, SEEDS, SHIPPED
from robot_wm.cli.schema import (
    AblateSettings,
    CollectSettings,
    DemoSettings,
    EvaluateSettings,
    ImproveSettings,
    ObjectiveSettings,
    PlannerSettings,
    ReachSettings,
    ReportSettings,
    SoakSettings,
    TaskSettings,
    TeachSettings,
)
from robot_wm.core.config import Device, Within, build, join
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Sides, Size
from robot_wm.core.storage.atomic_io import check_name
from robot_wm.core.storage.provenance import storage_root

if TYPE_CHECKING:
    from planning.evaluation.sample_pairs import PairsConfig
    from planning.optimizers import Optimiser
    from robot_wm.encoders.vit import EncoderConfig
    from robot_wm.pretraining.trainer import PretrainConfig
    from robot_wm.probing.gate import ProbeConfig
    from robot_wm.world_models.base import WorldModelFamily
    from sim.collection.collect import CollectConfig

# Methods whose planner has a section of its own.
PLANNERS = {"oracle": "oracle", "true_dynamics": "diagnosis", "true_cost": "diagnosis"}


@dataclass(frozen=True)
class Settings:
    """The root configuration.

    Attributes:
        name: name of everything this run makes.
        data_name: name of its data sets and pair lists, for runs that share them, e.g. with another
            seed; those of ``default`` carry no suffix.
        seed: of training; collections have fixed seeds of their own.
        image_size: of every image [px], a number or [height, width].
        threads: of torch in this process; workers have one each.
        workers: processes for collection and evaluation.
        launcher: what runs the workers: process, serial, or an installed one.
        device: ``cpu`` or ``cuda``, for training.
        weights: world model to evaluate: ``shipped`` or a name.
        encoder_name: frozen encoder to train on: ``shipped`` or a name.
        encoder_tasks: tasks whose collections pretrain the encoder.
        train_on: collections that train the world model: nominal, varied, or practice1, practice2,
            … of ``robot-wm improve``, or any other that is stored, e.g. a robot's log; with
            ``-mirrored`` behind it, its mirror image.
        publish: write pair lists and rows into the checkout's ``results/``.
        method: what to evaluate: jepa, onnx, copy_last, random, stay, expert, oracle,
            true_dynamics, true_cost.
        provider: execution provider of onnxruntime that plans with a bundle.
        bundle: folder of the exported bundle; empty means the shipped or the storage's own.
        precision: of an exported bundle, float32 or int8.
    """

    name: str
    task: TaskSettings
    collect: CollectSettings
    encoder: dict[str, Any]
    objective: ObjectiveSettings
    pretrain: dict[str, Any]
    probe: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    planner: PlannerSettings
    oracle: PlannerSettings
    diagnosis: PlannerSettings
    pairs: dict[str, Any]
    evaluate: EvaluateSettings
    improve: ImproveSettings
    teach: TeachSettings
    ablate: AblateSettings
    reach: ReachSettings
    soak: SoakSettings
    report: ReportSettings
    demo: DemoSettings
    weights: str
    encoder_name: str
    encoder_tasks: tuple[str, ...]
    method: tuple[str, ...]
    data_name: str = "default"
    train_on: tuple[str, ...] = ("nominal",)
    seed: Annotated[int, Within(0, below=2**32)] = 0
    image_size: Annotated[Size, Sides(8, 1024)] = 64
    threads: Annotated[int, Within(1, 1024)] = 2
    workers: Annotated[int, Within(1, 1024)] = 2
    launcher: str = "process"
    device: Device = "cpu"
    publish: bool = False
    provider: str = "CPUExecutionProvider"
    bundle: str = ""
    precision: str = "float32"

    def __post_init__(self) -> None:
        names = {"name": self.name, "data_name": self.data_name, "weights": self.weights}
        for where, name in {**names, "encoder_name": self.encoder_name}.items():
            check_name(name, where)
        for where, collections in (
            ("train_on", self.train_on),
            ("task.train_on", self.task.train_on),
            ("encoder_tasks", self.encoder_tasks),
            ("demo.tasks", self.demo.tasks),
        ):
            if not collections:
                raise ConfigError(f"{where} = []", "one name or more", f"name one in {where}")
            for collection in collections:
                check_name(collection, where)
        if not self.method:
            raise ConfigError("method = []", "one method or more", "name one")

    # Places.

    @property
    def suffix(self) -> str:
        """Of data sets and pair lists, which other names must not share."""
        return "" if self.data_name == "default" else f"-{self.data_name}"

    def dataset_path(self, task: str, collection: str) -> Path:
        """Where a collection lives."""
        return storage_root() / "datasets" / f"{task}-{collection}{self.suffix}"

    def encoder_path(self, name: str | None = None) -> Path:
        """Where a frozen encoder lives."""
        name = name or self.encoder_name
        if name == SHIPPED:
            return PACKAGE / "weights" / "encoder"
        return storage_root() / "encoders" / name / "encoder"

    def run_path(self, kind: str) -> Path:
        """Where logs and states of one kind of work live."""
        return storage_root() / "runs" / f"{kind}-{self.name}"

    def model_path(self, name: str | None = None) -> Path:
        """Where a world model of this task lives."""
        name, task = name or self.name, self.task.name
        if name == SHIPPED:
            return PACKAGE / "weights" / task
        return storage_root() / "models" / f"{task}-{name}" / "world_model"

    @property
    def shipped_bundle(self) -> Path:
        """Where the exported bundle of this task's shipped world model lives."""
        return PACKAGE / "weights" / "bundles" / self.task.name

    @property
    def results(self) -> Path:
        """Where rows go."""
        return CHECKOUT / "results" if self.publish else self.run_path("evaluate")

    # Stage configurations.

    def collect_config(self, collection: str) -> CollectConfig:
        """Configuration of one collection of this task."""
        from sim.collection.collect import CollectConfig, Mix

        return CollectConfig(
            task=self.task.name,
            collection=collection,
            episodes=getattr(self.task, collection),
            steps=self.task.steps,
            mix=tuple(build(Mix, m, f"task.mix[{i}]") for i, m in enumerate(self.task.mix)),
            variation=("all",) if collection == "varied" else (),
            image_size=self.image_size,
            frame_every=self.collect.frame_every,
            seed=SEEDS[collection],
            episodes_per_shard=self.collect.episodes_per_shard,
            workers=self.workers,
        )

    def encoder_config(self) -> EncoderConfig:
        """Shape of the encoder."""
        from robot_wm.encoders.vit import EncoderConfig

        given = join(self.encoder, "encoder", image_size=self.image_size)
        return build(EncoderConfig, given, "encoder")

    def pretrain_config(self) -> PretrainConfig:
        """Pretraining of the encoder."""
        from robot_wm.pretraining.trainer import PretrainConfig

        given = join(
            self._common(PretrainConfig, self.pretrain, "pretrain"),
            "pretrain",
            objective=self.objective.name,
            options=self.objective.options,
            encoder=self.encoder_config(),
            block=self.collect.frame_every,
        )
        return build(PretrainConfig, given, "pretrain")

    def probe_config(self) -> ProbeConfig:
        """The gate between pretraining and training."""
        from robot_wm.probing.gate import ProbeConfig

        return build(ProbeConfig, self._common(ProbeConfig, self.probe, "probe"), "probe")

    def train_config(self) -> Any:
        """World-model training on this task."""
        config = self.family.config
        sizes = {k: v for k, v in self.model.items() if k not in ("family", "backend")}
        given = join(sizes, "model", task=self.task.name)
        given = join(self._common(config, self.train, "train"), "train", **given)
        return build(config, given, "train")

    @property
    def family(self) -> WorldModelFamily:
        """What is trained, see ``model.family``."""
        from robot_wm.world_models.base import OLDEST, WORLD_MODELS

        found: WorldModelFamily = WORLD_MODELS[self.model.get("family", OLDEST)]
        return found

    @property
    def backend(self) -> str:
        """What ``method=mpc`` plans with, see ``model.backend``."""
        return str(self.model.get("backend", "torch"))

    def actor_config(self) -> Any:
        """Training of a taught actor."""
        from robot_wm.world_models.base import TeachesActor

        if not isinstance(self.family, TeachesActor):
            raise ConfigError(
                f"a taught actor of a {self.family.name}", "a family with `teach_actor`",
                "train another world model",
            )  # fmt: skip
        config = self.family.actor_config
        return build(config, self._common(config, self.teach.actor, "teach.actor"), "teach.actor")

    def pairs_config(self) -> PairsConfig:
        """How pair lists are drawn."""
        from planning.evaluation.sample_pairs import PairsConfig

        return build(PairsConfig, self.pairs, "pairs")

    def planner_of(self, method: str) -> PlannerSettings:
        """The planner of a method; those on a true simulator have their own, for it costs more."""
        planner: PlannerSettings = getattr(self, PLANNERS.get(method, "planner"))
        return planner

    @property
    def practice_planner(self) -> PlannerSettings:
        """The planner while practising, see ``improve.options``."""
        options = {**self.planner.options, **self.improve.options}
        return replace(self.planner, options=options)

    def optimiser(self, method: str = "") -> Optimiser:
        """The optimiser of a method's planner, which checks its own options."""
        where = f"{PLANNERS.get(method, 'planner')}.options"
        return optimiser_of(self.planner_of(method), where)

    def check(self) -> None:
        """Find a mistake before the first second, see :func:`robot_wm.cli.checks.check`.

        Raises:
            ConfigError: an unknown key or an impossible value in any section.
        """
        from robot_wm.cli.checks import check

        check(self)

    def _common(self, cls: type, section: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The section plus the root's seed, threads and device where the stage knows them."""
        known = cls.__dataclass_fields__  # type: ignore[attr-defined]
        root = {key: getattr(self, key) for key in ("seed", "threads", "device") if key in known}
        return join(section, where, **root)


def optimiser_of(planner: PlannerSettings, where: str) -> Optimiser:
    """The optimiser of a planner's section, whose options stand at ``where``."""
    from planning.optimizers import OPTIMISERS, make

    if planner.optimiser in OPTIMISERS:
        return build(OPTIMISERS[planner.optimiser], planner.options, where)
    return make(planner.optimiser, **planner.options)
