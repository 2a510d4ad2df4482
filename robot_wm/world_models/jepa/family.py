"""The house world model as a family: what others ask of it without knowing how it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.system.progress import say
from robot_wm.data.formats.base import open_episodes
from robot_wm.data.lessons import LessonStore
from robot_wm.data.sequences import is_demonstration, open_pairs
from robot_wm.encoders.base import load_encoder
from robot_wm.world_models.base import Evaluate, Lessons, TrainingData
from robot_wm.world_models.distillation import DistillConfig
from robot_wm.world_models.jepa.actor.dataset import RecordedRows, Taught
from robot_wm.world_models.jepa.actor.lesson_latents import build_taught
from robot_wm.world_models.jepa.actor.trainer import FREE as ACTOR_FREE
from robot_wm.world_models.jepa.actor.trainer import ActorConfig, train_actor
from robot_wm.world_models.jepa.artifact import own_sizes, taught_cost
from robot_wm.world_models.jepa.distillation.trainer import distill
from robot_wm.world_models.jepa.model import NAME, JEPAWorldModel
from robot_wm.world_models.jepa.training.config import FREE, TrainConfig
from robot_wm.world_models.jepa.training.trainer import train
from robot_wm.world_models.jepa.visualization import SHEET, NearestFrameDecoder


class JEPAFamily:
    """See :class:`robot_wm.world_models.base.WorldModelFamily`; also tunes, teaches, distils."""

    name = NAME
    config, free = TrainConfig, FREE
    proposes = True
    actor_config, actor_free = ActorConfig, ACTOR_FREE

    def train(
        self,
        config: TrainConfig,
        data: TrainingData,
        out: Path,
        evaluate: Evaluate | None = None,
    ) -> Path:
        """Train on the latents of all data sets."""
        caches = [data.latents(path) for path in data.datasets]
        return train(config, data.datasets, caches, load_encoder(data.encoder), out, evaluate)

    def load(
        self, folder: Path, encoder_folder: Path, cost: str = "", illustrate: bool = False
    ) -> JEPAWorldModel:
        """Load a stored model; illustrated with the training frames beside it."""
        loaded = JEPAWorldModel.load(folder, encoder_folder, cost or None)
        sheet = folder / SHEET
        shown = illustrate and sheet.is_file()
        return NearestFrameDecoder.illustrate(loaded, sheet) if shown else loaded

    def fine_tuning(
        self,
        config: TrainConfig,
        start: Path,
        steps: int,
        lr: float,
        interpolation: float,
        dataset_weights: Sequence[float],
    ) -> TrainConfig:
        """Predictor, proposer and goal distance go on learning; the latent stays.

        Actor and critic that a teacher taught stay, too: they learn from lessons.
        """
        taught: dict[str, Any] = {"proposer": 0.0, "distance": 0.0} if taught_cost(start) else {}
        return replace(
            config, **own_sizes(start), **taught, steps=0, embedding_steps=0, dynamics_steps=steps,
            lr=lr, latent_of=str(start), fine_tune=True, interpolation=interpolation,
            dataset_weights=tuple(dataset_weights),
        )  # fmt: skip

    def teach_actor(
        self,
        config: ActorConfig,
        training: TrainConfig,
        start: Path,
        lessons: Lessons,
        recorded: TrainingData,
        out: Path,
    ) -> Path:
        """Encoder, latent and predictor stay as they are."""
        model = self.load(start, recorded.encoder)
        stores = [LessonStore(path) for path in lessons.folders]
        caches = [
            build_taught(store, model, lessons.pictures, lessons.mirror, lessons.cache)
            for store in stores
        ]
        both = list(zip(stores, caches, strict=True))
        taught = Taught(both, lessons.mirror, model.spec.block, model.network.predictor)
        noise = training.demonstration_noise
        shown = self._demonstrations(model, recorded, noise) if config.recorded else None
        return train_actor(config, taught, shown, model, start, out, lessons.facts)

    def distill(
        self, config: DistillConfig, source: tuple[Path, Path], data: TrainingData, seed: int,
        out: Path, pictures: Callable[[np.ndarray], Any] | None = None,
        encoder_out: Path | None = None,
    ) -> Path:  # fmt: skip
        """Projector and embedding learn; predictor, proposer and goal distance are the source's."""
        caches = [] if config.encoder else [data.latents(path) for path in data.datasets]
        model, first = self.load(*source), load_encoder(data.encoder)
        return distill(
            config, model, data.datasets, caches, first, seed, out, pictures, encoder_out
        )

    def _demonstrations(
        self, model: JEPAWorldModel, recorded: TrainingData, noise: float
    ) -> RecordedRows | None:
        """Asked before anything is encoded: many a task has an expert for its lessons alone."""
        stores = [open_episodes(path, verify=False) for path in recorded.datasets]
        shown = (is_demonstration(s.meta(i), noise) for s in stores for i in s.indices("train"))
        if not any(shown):
            say(f"no demonstration with action noise up to {noise}: lessons alone")
            return None
        caches = [recorded.latents(path) for path in recorded.datasets]
        pairs = open_pairs(model.spec.task, recorded.datasets, caches, model.encoder.sha256)
        return RecordedRows.load(pairs, model, noise)


FAMILY = JEPAFamily()
