"""The configuration as an object: its root, and every section as an attribute.

Sections are those of :mod:`robot_wm.cli.schema`. The ones that belong to a training stay mappings
until they are asked for: other sections decide a part of them, and their dataclasses import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from robot_wm.cli.paths import CHECKOUT, PACKAGE, SEEDS, SHIPPED, is_shipped
from robot_wm.cli.schema import SECTIONS
from robot_wm.core.config import Device, Within, build, join
from robot_wm.core.errors import ConfigError
from robot_wm.core.images import Sides, Size, spelled
from robot_wm.core.storage.atomic_io import check_name
from robot_wm.core.storage.provenance import storage_root

if TYPE_CHECKING:
    from robot_wm.encoders.vit import EncoderConfig
    from robot_wm.pretraining.trainer import PretrainConfig
    from robot_wm.probing.gate import ProbeConfig
    from robot_wm.world_models.base import WorldModelFamily


@dataclass(frozen=True)
class Settings:
    """Values at the root of the configuration, beside its sections.

    Attributes:
        name: name of everything this run makes.
        data_name: name of its data sets and pair lists, for runs that share them, e.g. with another
            seed; those of ``default`` carry no suffix.
        seed: of training; collections have fixed seeds of their own.
        image_size: of every image [px], a number or [height, width]; usually the task's own.
        threads: of torch in this process; workers have one each.
        workers: processes for collection and evaluation.
        launcher: what runs the workers: process, serial, or an installed one.
        device: ``cpu`` or ``cuda``, for training.
        weights: world model to evaluate: ``shipped`` or a name.
        encoder_name: frozen encoder to train on: ``shipped``, ``shipped-contrast`` or a name.
        encoder_tasks: tasks whose collections pretrain the encoder; usually the task's own.
        pretrain_on: which collections of theirs.
        train_on: collections that train the world model: nominal, varied, or practice1, practice2,
            … of ``robot-wm self-improve``, or any other that is stored, e.g. a robot's log; with
            ``-mirrored`` behind it, its mirror image; with ``-looks`` (``-looks2``, …) behind it,
            its states in other colours, light and camera, an own draw for each number.
        publish: write pair lists and rows into the checkout's ``results/``.
        method: what to evaluate: an agent of ``configs/agent``, or several.
        provider: execution provider of onnxruntime that plans with a bundle.
        bundle: folder of the exported bundle; empty means the shipped or the storage's own.
        precision: of an exported bundle, float32 or int8.
    """

    name: str
    encoder: dict[str, Any]
    pretrain: dict[str, Any]
    probe: dict[str, Any]
    world_model: dict[str, Any]
    train: dict[str, Any]
    weights: str
    encoder_name: str
    encoder_tasks: tuple[str, ...]
    method: tuple[str, ...]
    data_name: str = "default"
    train_on: tuple[str, ...] = ("nominal",)
    pretrain_on: tuple[str, ...] = tuple(SEEDS)
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

    if TYPE_CHECKING:  # sections, see :func:`settings_class`

        def __getattr__(self, name: str) -> Any: ...

    def __post_init__(self) -> None:
        names = {"name": self.name, "data_name": self.data_name, "weights": self.weights}
        for where, name in {**names, "encoder_name": self.encoder_name}.items():
            check_name(name, where)
        for where, collections in (
            ("train_on", self.train_on),
            ("pretrain_on", self.pretrain_on),
            ("encoder_tasks", self.encoder_tasks),
        ):
            if not collections:
                raise ConfigError(f"{where} = []", "one name or more", f"name one in {where}")
            for collection in collections:
                check_name(collection, where)
        if not self.method:
            raise ConfigError("method = []", "one method or more", "name one")
        if is_shipped(self.name):  # a run would write into the installation
            raise ConfigError(
                f"name={self.name}", f"a name that is not {SHIPPED} and does not begin {SHIPPED}-",
                f"for weights that came with the installation give weights={self.name}",
            )  # fmt: skip

    def replace(self, **changes: Any) -> Settings:
        """The settings with other values or sections; nothing else is composed anew."""
        return dataclasses.replace(self, **changes)

    # Places.

    @property
    def suffix(self) -> str:
        """Of data sets and pair lists, which other names must not share."""
        return "" if self.data_name == "default" else f"-{self.data_name}"

    def dataset_path(self, task: str, collection: str) -> Path:
        """Where a collection lives."""
        return storage_root() / "datasets" / f"{task}-{collection}{self.suffix}"

    def encoder_path(self, name: str | None = None) -> Path:
        """Where a frozen encoder lives; shipped are one an image size, and its variants."""
        name = name or self.encoder_name
        if is_shipped(name):
            called = f"{spelled(self.image_size)}{name.removeprefix(SHIPPED)}"
            return PACKAGE / "weights" / "encoders" / called
        return storage_root() / "encoders" / name / "encoder"

    def run_path(self, kind: str) -> Path:
        """Where logs and states of one kind of work live."""
        return storage_root() / "runs" / f"{kind}-{self.name}"

    def model_path(self, name: str | None = None) -> Path:
        """Where a world model of this task lives; shipped are one a task, and its variants."""
        name, task = name or self.name, self.task.name
        if is_shipped(name):
            return PACKAGE / "weights" / f"{task}{name.removeprefix(SHIPPED)}"
        return storage_root() / "models" / f"{task}-{name}" / "world_model"

    @property
    def shipped_bundle(self) -> Path:
        """Where the exported bundle of this task's shipped world model, or variant of it, lives."""
        name = self.weights if is_shipped(self.weights) else SHIPPED
        return PACKAGE / "weights" / "bundles" / self.model_path(name).name

    def row_modifiers(self, planner: Any) -> tuple[str, ...]:
        """Appended to names of rows: those asked for, what a planner restores, a variant's name.

        So rows of a variant are never averaged with those of what it varies.
        """
        asked = (
            *self.evaluate.modifiers, *(("straightened",) * planner.straighten),
            *(("repainted",) * planner.repaint),
        )  # fmt: skip
        if not is_shipped(self.weights) or self.weights == SHIPPED:
            return tuple(dict.fromkeys(asked))
        return tuple(dict.fromkeys((*asked, self.weights.removeprefix(f"{SHIPPED}-"))))

    @property
    def results(self) -> Path:
        """Where rows go."""
        return CHECKOUT / "results" if self.publish else self.run_path("evaluate")

    # Stage configurations.

    def encoder_config(self) -> EncoderConfig:
        """Shape of the encoder."""
        from robot_wm.encoders.vit import EncoderConfig

        sizes = {k: v for k, v in self.encoder.items() if k != "family"}
        given = join(sizes, "encoder", image_size=self.image_size)
        return build(EncoderConfig, given, "encoder")

    @property
    def encoder_family(self) -> Any:
        """What an encoder is made by, see ``encoder.family``; most are pretrained."""
        from robot_wm.encoders.base import ENCODERS, OLDEST

        return ENCODERS[self.encoder.get("family", OLDEST)]

    def check_pretrains(self) -> None:
        """Refuse an encoder of which nothing is pretrained, where pretraining is what is measured.

        Raises:
            ConfigError: it is such a one.
        """
        from robot_wm.encoders.base import Untrained

        if isinstance(self.encoder_family, Untrained):
            raise ConfigError(
                f"encoder.family = {self.encoder['family']}, of which nothing is pretrained",
                "an encoder that learns", "say encoder=vit",
            )  # fmt: skip

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
        sizes = {k: v for k, v in self.world_model.items() if k not in ("family", "backend")}
        given = join(sizes, "world_model", task=self.task.name)
        given = join(self._common(config, self.train, "train"), "train", **given)
        return build(config, given, "train")

    @property
    def family(self) -> WorldModelFamily:
        """What is trained, see ``world_model.family``."""
        from robot_wm.world_models.base import OLDEST, WORLD_MODELS

        found: WorldModelFamily = WORLD_MODELS[self.world_model.get("family", OLDEST)]
        return found

    @property
    def backend(self) -> str:
        """What ``method=mpc`` plans with, see ``world_model.backend``."""
        return str(self.world_model.get("backend", "torch"))

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


@cache
def settings_class() -> type[Settings]:
    """The whole configuration: :class:`Settings` with a field for every section."""
    sections: list[tuple[str, type]] = [(name, SECTIONS[name]) for name in SECTIONS]
    return make_dataclass("Settings", sections, bases=(Settings,), frozen=True, kw_only=True)
