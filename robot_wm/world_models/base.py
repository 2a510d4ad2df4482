"""What a kind of world model is, and how a stored one is loaded: by what its own manifest says.

A family is an object with a configuration, ``train`` and ``load``. Ours are in
:data:`WORLD_MODELS`; an installed package adds one by an entry point of ``robot_wm.world_models``.
An artefact is a folder of kind ``world_model`` whose manifest has ``facts["family"]``; without it,
it is of :data:`OLDEST`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.protocols import WorldModel
from robot_wm.core.registry import Registry
from robot_wm.core.storage.provenance import read_manifest
from robot_wm.core.symmetry import Mirror

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from robot_wm.world_models.distillation import DistillConfig

KIND = "world_model"
OLDEST = "jepa"  # the only one there was when manifests did not name it
WORLD_MODELS = Registry(
    "robot_wm.world_models",
    {
        "dino_wm": "robot_wm.world_models.dino_wm.family:FAMILY",
        "dreamer": "robot_wm.world_models.dreamer.family:FAMILY",
        "genie": "robot_wm.world_models.genie.family:FAMILY",
        "genie_true": "robot_wm.world_models.genie.family:TRUE_FAMILY",
        "hjepa": "robot_wm.world_models.hierarchy.family:FAMILY",
        "jepa": "robot_wm.world_models.jepa.family:FAMILY",
        "latent_variable": "robot_wm.world_models.latent_variable.family:FAMILY",
        "lewm": "robot_wm.world_models.lewm.family:FAMILY",
        "sora": "robot_wm.world_models.sora.family:FAMILY",
        "world_models": "robot_wm.world_models.world_models_2018.family:FAMILY",
    },
)

Evaluate = Callable[[WorldModel[Any]], Mapping[str, Any]]
"""Closed-loop success of the model as it would be shipped now, for the log."""


@dataclass(frozen=True)
class TrainingData:
    """What a world model is trained on.

    Attributes:
        datasets: folders of episodes of one task.
        encoder: folder of the frozen encoder.
        latents: finds or makes the latent cache of a data set; not called, nothing is encoded.
    """

    datasets: Sequence[Path]
    encoder: Path
    latents: Callable[[Path], Path]


class WorldModelFamily(Protocol):
    """One kind of world model.

    Attributes:
        name: in the registry and in manifests.
        config: dataclass of a training. It is built from the groups ``model`` and ``train``, and
            gets ``task``, ``seed``, ``threads`` and ``device`` of the run where it has such fields.
        free: its fields that do not decide the result: they may differ from those of a stored
            model that is used again.
        proposes: whether its models have a learned actor (``Proposer``).
    """

    name: str
    config: type
    free: Sequence[str]
    proposes: bool

    def train(
        self, config: Any, data: TrainingData, out: Path, evaluate: Evaluate | None = None
    ) -> Path:
        """Train and write ``out/world_model``; an interrupted training goes on.

        Its manifest has ``parents["encoder"]`` (sha256), and as facts ``family``, ``config`` (the
        deciding fields, ``seed`` among them) and ``datasets`` (sha256 of each).

        Returns:
            The artefact folder.
        """
        ...

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> WorldModel[Any]:
        """Load a stored model with its encoder.

        Args:
            cost: replaces the model's own choice of step costs; empty keeps it.
            illustrate: be able to show what it imagines (``planning``'s ``Imagination``), if the
                artefact holds what that needs.

        Raises:
            WeightsError: missing, altered or misshapen weights.
            DataError: the encoder is not the one this model was trained on.
            ConfigError: a cost it does not know.
        """
        ...


@runtime_checkable
class FineTunes(Protocol):
    """Optional ability of a family: go on training a stored model."""

    def fine_tuning(
        self,
        config: Any,
        start: Path,
        steps: int,
        lr: float,
        interpolation: float,
        dataset_weights: Sequence[float],
    ) -> Any:
        """The configuration that goes on from ``start``.

        Args:
            config: of a training from nothing.
            steps, lr: optimiser steps and their learning rate.
            interpolation: share of ``start``'s weights in the result, [0, 1).
            dataset_weights: of training windows, one for each data set; empty weighs them by size.
        """
        ...


@dataclass(frozen=True)
class Lessons:
    """A teacher's answers, for :class:`TeachesActor`.

    Attributes:
        folders: of lessons (:mod:`robot_wm.data.lessons`).
        facts: what they were, for the manifest.
        pictures: images ``[size, size, 3]`` of physics states ``[N, S]``.
        mirror: of the scene, if it has one.
        cache: where latents of lessons are kept.
    """

    folders: Sequence[Path]
    facts: Mapping[str, Any]
    pictures: Callable[[np.ndarray], Any]
    mirror: Mirror | None
    cache: Path


@runtime_checkable
class TeachesActor(Protocol):
    """Optional ability of a family: a stored model's actor learns from a teacher.

    Attributes:
        actor_config: dataclass of ``teach.actor``.
        actor_free: its fields that do not decide the result.
    """

    actor_config: type
    actor_free: Sequence[str]

    def teach_actor(
        self, config: Any, training: Any, start: Path, lessons: Lessons, recorded: TrainingData,
        out: Path,
    ) -> Path:  # fmt: skip
        """Write ``out/world_model``: ``start`` with another actor.

        Args:
            config: of the actor's training.
            training: configuration of a training from nothing: what counts as a demonstration.
            recorded: episodes, with the encoder of ``start``.
        """
        ...


@runtime_checkable
class Distills(Protocol):
    """Optional ability of a family: carry a stored model over to another encoder."""

    def distill(
        self, config: DistillConfig, source: tuple[Path, Path], data: TrainingData, seed: int,
        out: Path, pictures: Callable[[np.ndarray], Any] | None = None,
        encoder_out: Path | None = None,
    ) -> Path:  # fmt: skip
        """Write ``out/world_model``, whose latent is the source's, over another encoder.

        Args:
            source: the model and its encoder.
            data: episodes as recorded and in other looks, with the other encoder.
            pictures: images of physics states ``[N, S]`` at the size that the source sees.
            encoder_out: where the encoder is written if it is to learn, too (``config.encoder``);
                the model's parents name it ``encoder``, and ``first_encoder`` the one of ``data``.
        """
        ...


@dataclass(frozen=True)
class ExportParts:
    """What a bundle's graphs are made of: modules of pure tensor functions, float32 throughout.

    ``N`` frames or candidates, ``H`` blocks, ``A`` action size of a block, ``Z`` latent size, ``K``
    drawn and ``M`` fixed proposals; actions in the task's own unit.

    Attributes:
        encode: images uint8 ``[N, S, S, 3]`` to latents ``[N, Z]`` and novelty ``[N]`` (about 1 for
            training frames), each image alone.
        step_costs: latents of the previous and the present frame ``[1, Z]`` each, the block between
            them ``[1, A]``, the goal's latent ``[1, Z]``, actions ``[N, H, A]``; to costs
            ``[N, H]``.
        propose: the same four, then ``choice [K]`` and ``noise [K, H, A]`` (see
            ``robot_wm.core.protocols.proposal_chance``) to plans ``[M + K, H, A]`` within bounds.
        latent: ``Z``.
        proposals: ``M``.
        horizon: ``H``.
    """

    encode: nn.Module
    step_costs: nn.Module
    propose: nn.Module
    latent: int
    proposals: int
    horizon: int


@runtime_checkable
class Exportable(Protocol):
    """Optional ability of a model: be exported as a bundle that needs no torch."""

    def export_parts(self) -> ExportParts:
        """The modules, with the weights as they are."""
        ...


def export_parts(model: Any) -> ExportParts:
    """What a bundle of this model is made of.

    Raises:
        ConfigError: a model that cannot be exported.
    """
    if not isinstance(model, Exportable):
        raise ConfigError(
            f"export of a {type(model).__name__}, which cannot be exported",
            "a model with `export_parts` (robot_wm.world_models.base.Exportable)",
            "plan with it in torch, or give it that method",
        )
    return model.export_parts()


def family_of(folder: Path) -> WorldModelFamily:
    """The family that a stored world model's manifest names.

    Raises:
        WeightsError: no such model, or one of a family that is not installed.
    """
    try:
        name = read_manifest(Path(folder), KIND, verify=False)["facts"].get("family", OLDEST)
    except DataError as error:
        raise WeightsError(error.received, error.accepted, error.next_step) from error
    if name not in WORLD_MODELS:
        raise WeightsError(
            f"{folder} is a world model of the family {name!r}", ", ".join(WORLD_MODELS),
            "install the package it was trained with",
        )  # fmt: skip
    family: WorldModelFamily = WORLD_MODELS[name]
    return family


def load_world_model(
    folder: Path | str, encoder_folder: Path | str, cost: str = "", illustrate: bool = False
) -> WorldModel[Any]:
    """A stored world model, of whatever family; see :meth:`WorldModelFamily.load`."""
    folder = Path(folder)
    return family_of(folder).load(folder, Path(encoder_folder), cost, illustrate)
