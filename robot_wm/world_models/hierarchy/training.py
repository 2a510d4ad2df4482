"""Train the upper level on recorded latents of the lower one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_wm.core.errors import DataError
from robot_wm.core.protocols import spec_to_json
from robot_wm.core.storage.markdown import card, table
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.training.checkpoint import half_precision, save_artifact
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import generators_of
from robot_wm.world_models.base import KIND
from robot_wm.world_models.hierarchy.config import FREE, HierarchyConfig
from robot_wm.world_models.hierarchy.network import UpperLevel
from robot_wm.world_models.jepa.actor.dataset import RecordedRows
from robot_wm.world_models.jepa.actor.lesson_training import LessonTraining
from robot_wm.world_models.jepa.model import JEPAWorldModel

LOW, UPPER = "low", "upper"  # of tensors in an artefact
CHECKED = 2_000  # rows that the last step is measured on


class UpperTraining(LessonTraining):
    """The upper level, learning from strides of demonstrations.

    Args:
        name: of the family.
        rows: recorded latents of the lower level, training episodes.
        stores: whose episodes they are.
        low: the lower level, which stays as it is.
        target: the artefact's folder.
    """

    title, section = "train the upper level", "train"

    def __init__(
        self, name: str, config: HierarchyConfig, rows: RecordedRows,
        stores: Sequence[EpisodeReader], low: JEPAWorldModel, target: Path,
    ) -> None:  # fmt: skip
        torch.manual_seed(config.seed)  # within `fit`, which gives torch's generator back
        state = Averaged(fitted(config, low))
        super().__init__(config, config.steps, state, config.log_every, config.checkpoint_every)
        self.name, self.config, self.rows, self.low = name, config, rows, low
        self.target = target
        self.able = np.flatnonzero(rows.left >= config.stride)
        if not len(self.able):
            raise DataError(
                f"no demonstration of {config.stride} blocks", "longer episodes",
                "lower world_model.stride, or collect longer episodes",
            )  # fmt: skip
        self.facts = {
            "family": name, "config": config.to_json(FREE),
            "datasets": [store.sha256 for store in stores],
        }  # fmt: skip
        hashes = low.spec.hashes
        self.parents = {"encoder": hashes["encoder"], "latent": hashes[KIND]}
        self.identity = {**self.facts, "parents": self.parents}

    def drawn_loss(self, step: int) -> Tensor:
        """See :meth:`UpperLevel.loss`; half of the goals lie within two strides."""
        rng, torchs = generators_of(self.config.seed, step)
        rows = self.able[rng.integers(len(self.able), size=self.config.batch)]
        z, actions, later, left = self.strides(rows)
        most = np.where(rng.random(len(rows)) < 0.5, 2 * self.config.stride, self.config.most)
        ahead = rng.integers(1, np.minimum(left, most) + 1)
        noise = self.config.noise * torch.randn(len(rows), self.config.macro, generator=torchs)
        return self.state.live.loss(z, actions, later, self.rows.z[rows + ahead], noise)

    def strides(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
        """Latents, blocks of a stride ``[N, S, A]``, latents after them, blocks that are left."""
        stride = self.config.stride
        actions = self.rows.blocks[rows[:, None] + np.arange(stride)]
        return self.rows.z[rows], actions, self.rows.z[rows + stride], self.rows.left[rows]

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """Explained share of the change over a stride, with the true code and with another's."""
        rows = self.able[:: max(1, len(self.able) // CHECKED)]
        z, actions, later, _ = self.strides(rows)
        upper = self.state.ema
        code = upper.code(actions)
        whole = (later - z).square().mean()
        return {
            name: 1 - float((upper.predict(z, used) - later).square().mean() / whole)
            for name, used in (("explained", code), ("with_other_code", code.roll(1, dims=0)))
        }

    def finish(self) -> Path:
        """Write both levels as one artefact."""
        upper, low = self.state.ema, self.low.network
        tensors = {
            **{f"{LOW}.{k}": v for k, v in half_precision(low).items()},
            **{f"{UPPER}.{k}": v for k, v in half_precision(upper).items()},
        }
        measured = self.measured()
        facts = {
            **self.facts, "last": {"training": measured},
            "parameters": sum(p.numel() for net in (upper, low) for p in net.parameters()),
        }  # fmt: skip
        described = {
            "train": asdict(self.config), "spec": spec_to_json(self.low.spec),
            "sizes": asdict(low.sizes), "cost": self.low.cost,
        }  # fmt: skip
        save_artifact(
            self.target, KIND, tensors, described, self.parents, facts, self._card(facts, measured)
        )
        return self.target

    def _card(self, facts: Mapping[str, Any], measured: Mapping[str, float]) -> str:
        c = self.config
        return card(
            f"Hierarchical world model for `{c.task}`",
            f"Two levels over one latent: the lower one predicts a block ahead, the upper one "
            f"{c.stride} blocks, from {c.macro} numbers that stand for them.",
            [
                f"{facts['parameters']:,} parameters in half precision, both levels together; "
                f"{c.steps:,} steps of {c.batch} strides, seed {c.seed}",
                "Trained for this scene, camera and robot only; it has no notion of safety",
            ],
            table(
                ["share of the change over a stride, training episodes", "value"],
                [[name, f"{value:.3f}"] for name, value in measured.items()],
            ),
        )


def fitted(config: HierarchyConfig, low: JEPAWorldModel) -> UpperLevel:
    """A fresh upper level with the lower one's statistics."""
    sizes, predictor = low.network.sizes, low.network.predictor
    upper = UpperLevel(config, sizes.latent, sizes.action)
    upper.scale.load_state_dict(predictor.scale.state_dict())
    upper.place.load_state_dict(predictor.place.state_dict())
    return upper
