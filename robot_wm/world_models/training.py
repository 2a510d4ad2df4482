"""What trainings of world models have in common: identity, measuring, the average, the artefact."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from robot_wm.core.protocols import ModelSpec, WorldModel, spec_to_json
from robot_wm.core.storage.markdown import card, table
from robot_wm.core.storage.provenance import sha256_of
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.training.checkpoint import save_artifact
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training
from robot_wm.training.run_log import Log
from robot_wm.world_models.base import KIND, Evaluate
from robot_wm.world_models.config import FREE


class FamilyTraining(Training):
    """A world model that learns from recorded episodes.

    Args:
        family: its name, for the manifest.
        config: a :class:`robot_wm.world_models.config.FamilyConfig`.
        stores: data sets of one robot.
        encoder: sha256 of the run's frozen encoder.
        spec: what the planner must know.
        target: folder of the artefact.
        closed_loop: success of the current model, at every evaluation where something plans.
        parents: sha256 of further parents, by role.

    Attributes:
        titled, about: title of the card, and what it says first.
        free: fields of the configuration that do not decide the result.
    """

    title, section = "train", "train"
    titled: ClassVar[str] = "World model `{family}` for `{task}`"
    about: ClassVar[str]
    free: ClassVar[Sequence[str]] = FREE

    def __init__(
        self, family: str, config: Any, stores: Sequence[EpisodeReader], encoder: str,
        spec: ModelSpec, target: Path, closed_loop: Evaluate | None,
        parents: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.family, self.config, self.stores, self.spec = family, config, stores, spec
        self.target, self.closed_loop = target, closed_loop
        self.hashes = [store.sha256 for store in stores]
        joint = self.hashes[0] if len(self.hashes) == 1 else sha256_of(self.hashes)
        self.parents = {"encoder": encoder, "dataset": joint, **(parents or {})}
        self.identity = {**config.to_json(self.free), "parents": self.parents}
        self.pace = Pace(
            config.total, config.log_every, config.eval_every, config.checkpoint_every,
            config.weight_decay, config.clip,
        )  # fmt: skip
        self.generators = {}
        self.last: dict[str, Any] = {}

    @abstractmethod
    def model(self) -> WorldModel[Any]:
        """The model as it would be shipped now."""

    def begin(self, step: int, log: Log) -> None:
        """Find what an interrupted run has measured."""
        self.last = next((record for record in reversed(log.past) if "validation" in record), {})

    @property
    def plans(self) -> bool:
        """Whether what has been trained so far can be planned with."""
        return True

    def validate(self) -> Mapping[str, float]:
        """Measures of held-out episodes, by name; empty where there is nothing to measure."""
        return {}

    def evaluate(self, step: int) -> dict[str, Any]:
        """Validation, and closed loop where it is asked for."""
        values: dict[str, Any] = {}
        if found := self.validate():
            # Where nothing moves in a handful of episodes, a share of it has no meaning.
            values["validation"] = {k: v for k, v in found.items() if math.isfinite(v)}
        if self.closed_loop is not None and self.plans:
            values["closed_loop"] = dict(self.closed_loop(self.model()))
        if values:
            self.last = {"step": step, **values}
        return values

    def save(
        self, tensors: Mapping[str, Tensor], described: Mapping[str, Any], parameters: int,
        how: str, notes: Sequence[str] = (), files: Mapping[str, bytes] | None = None,
        **facts: Any,
    ) -> Path:  # fmt: skip
        """Write the artefact; its folder.

        Args:
            described: what rebuilds the network, beside the spec.
            parameters: their number.
            how: they were trained and stored, after their number on the card.
            notes: further lines of the card.
            files: beside the weights, by name.
            facts: further ones for the manifest.
        """
        told = {
            "family": self.family,
            "config": self.identity,
            "datasets": self.hashes,
            "parameters": parameters,
            "last": {k: v for k, v in self.last.items() if k != "seconds"},
            **facts,
        }
        measured = self.last.get("validation", {})
        text = card(
            self.titled.format(family=self.family, task=self.config.task), self.about,
            [
                f"Parents: {', '.join(f'{k} `{sha[:12]}`' for k, sha in self.parents.items())}",
                f"{parameters:,} parameters{how}",
                *notes,
                "Trained for this scene, camera and robot only; it has no notion of safety",
            ],
            table(["held-out episodes", "value"], [[k, f"{v:.3f}"] for k, v in measured.items()]),
        )  # fmt: skip
        stored = {"spec": spec_to_json(self.spec), **described}
        save_artifact(self.target, KIND, tensors, stored, self.parents, told, text, files)
        return self.target


M = TypeVar("M", bound=nn.Module)


class AveragedTraining(FamilyTraining, Generic[M]):
    """A module that learns (``live``), and its running average, which is validated and shipped."""

    state: Averaged[M]

    def average(self, module: M) -> None:
        """Begin with this module; the configuration is an ``AveragedConfig``."""
        self.state = Averaged(module).to(self.config.device)
        self.trained = self.live = self.state.live
        self.terms: Mapping[str, Tensor] = {}

    def learning_rate(self, step: int) -> float:
        """See :meth:`robot_wm.world_models.config.AveragedConfig.learning_rate`."""
        rate: float = self.config.learning_rate(step)
        return rate

    def summed(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss, whose terms are kept for the log."""
        self.terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average, which begins anew in every stage."""
        self.state.update(self.config.ema, step - self.config.span(step)[0])

    def line(self) -> dict[str, Any]:
        """Loss and terms of the last step."""
        total = torch.stack(list(self.terms.values())).sum()
        return {"loss": float(total), "terms": {k: float(v) for k, v in self.terms.items()}}
