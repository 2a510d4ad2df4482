"""Carry a world model over to another frozen encoder and to other looks.

Projector and embedding, and the encoder itself where it is to learn, too, say of a frame, whatever
its colours, light and camera, what the source says of the same state as it was recorded
(distillation, Hinton et al. 2015, arXiv:1503.02531). Predictor, actor and goal distance come along
as they are: what they learned from many episodes is kept, for the latent is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.protocols import ModelSpec, spec_to_json
from robot_wm.data.color_jitter import recolored
from robot_wm.data.formats.base import open_stores, spec_of
from robot_wm.data.sequences import open_pairs, usable
from robot_wm.encoders.base import Encoder
from robot_wm.encoders.frozen import save_encoder
from robot_wm.training.checkpoint import full_precision, half_precision, save_artifact
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, fit, generators_of
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.run_log import Log
from robot_wm.world_models.distillation import FREE, DistillConfig
from robot_wm.world_models.jepa.artifact import grid_of, layer_norm_of
from robot_wm.world_models.jepa.distillation.card import card_of
from robot_wm.world_models.jepa.distillation.dataset import (
    FrameBatch,
    FrameDataset,
    Pictures,
    Recolored,
)
from robot_wm.world_models.jepa.distillation.inputs import Latent, Pixels, Tokens
from robot_wm.world_models.jepa.model import CONTEXT, KIND, NAME, JEPAWorldModel
from robot_wm.world_models.jepa.network import Network, candidate_bytes
from robot_wm.world_models.jepa.visualization import SHEET, contact_sheet

EXPLAINING = 3_000  # frames that the reduction of tokens is fitted on
COLORS = 0xC01  # of their random stream
JUDGED = 4_096  # held-out frames that an evaluation looks at, of each kind


def distill(
    config: DistillConfig,
    source: JEPAWorldModel,
    datasets: Sequence[Path],
    latents: Sequence[Path],
    encoder: Encoder,
    seed: int,
    out: Path,
    pictures: Pictures | None = None,
    encoder_out: Path | None = None,
) -> Path:
    """Train, and write ``out/world_model``: ``source`` over another encoder.

    Args:
        source: whose latent is learned; all else is taken from it.
        datasets, latents: episodes as recorded and in other looks, with their caches; none where
            the encoder learns.
        encoder: the one the latents were made with, or that learning begins with.
        seed: of weights and batches.
        out: run folder; an interrupted run there goes on.
        pictures: draws physics states as the source sees them, where the episodes' frames have
            another size.
        encoder_out: where the encoder goes that learned (``config.encoder``); it is frozen then.

    Raises:
        ConfigError: an encoder that is to learn and cannot, or whose folder is not given.
        DataError: another task or robot than the source's, or frames that it cannot judge.
        WeightsError: ``out`` holds a run with another configuration.
    """
    task = source.spec.task
    seen: Tokens | Pixels
    if config.encoder:
        seen = Pixels(open_stores(task, datasets), encoder)
    else:
        seen = Tokens(open_pairs(task, datasets, latents, encoder.sha256), encoder)
    make = partial(Distillation, config, source, seen, seed, Path(out), pictures, encoder_out)
    return fit(make, out)


class Distillation(Training):
    """Projector, embedding, perhaps encoder, learning from a model's latents: :func:`distill`."""

    title, section = "distill", "distill"

    def __init__(
        self,
        config: DistillConfig,
        source: JEPAWorldModel,
        seen: Tokens | Pixels,
        seed: int,
        out: Path,
        pictures: Pictures | None = None,
        encoder_out: Path | None = None,
    ) -> None:
        self.config, self.source, self.seen, self.encoder = config, source, seen, seen.encoder
        self.seed, self.out, self.pictures, self.encoder_out = seed, out, pictures, encoder_out
        if config.encoder and encoder_out is None:
            raise ConfigError("distill.encoder=true without encoder_out", "a folder", "give one")
        check_robot(source.spec, spec_of(seen.stores[0], CONTEXT, source.spec.horizon))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = self._fresh()
        memory = candidate_bytes(self.network.sizes)
        self.spec = spec_of(seen.stores[0], CONTEXT, source.spec.horizon, memory)
        live = Latent(self.network, seen.learning()).train().requires_grad_(True)
        self.state: Averaged[Latent] = Averaged(live)
        self.trained, self.generators = live, {}
        c, hashes = config, source.spec.hashes
        self.parents = {
            seen.role: self.encoder.sha256, "latent": hashes[KIND],
            "latent_encoder": hashes["encoder"],
        }  # fmt: skip
        decisive = {k: v for k, v in asdict(c).items() if k not in FREE}
        self.datasets = [store.sha256 for store in seen.stores]
        self.identity = decisive | {
            "seed": seed, "parents": self.parents, "datasets": self.datasets
        }  # fmt: skip
        self.pace = Pace(
            c.steps, c.log_every, c.evaluate_every, c.checkpoint_every, c.weight_decay, c.clip
        )
        self.last, self.terms = dict[str, float](), dict[str, Tensor]()

    def _fresh(self) -> Network:
        """The source's network, but for a new reduction and projector of the encoder's shape."""
        own, (positions, width) = self.source.network.sizes, self.seen.token_shape
        rows, columns = grid_of(self.encoder, positions)
        sizes = replace(
            own, positions=positions, columns=0 if rows == columns else columns,
            encoder_width=width, reduced=min(own.reduced, width),
            layer_norm=layer_norm_of(self.encoder),
        )  # fmt: skip
        network = Network(sizes)
        for name, module in self.source.network.named_children():
            if name not in ("reduce", "projector"):
                getattr(network, name).load_state_dict(module.state_dict())
        return network.requires_grad_(False)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0."""
        c = self.config
        return warmup_cosine(c.lr, step, c.steps, min(c.warmup, c.steps))

    def begin(self, step: int, log: Log) -> None:
        """Fit the reduction, then hold all frames with their targets in memory."""
        self.last = next((r["validation"] for r in reversed(log.past) if "validation" in r), {})
        if not step or not self.config.encoder:  # else it is of the encoder as it began
            self.network.reduce.fit(self.seen.sample(EXPLAINING))
        self.frames = self._frames("train")
        judged = any(usable(store, "validation") for store in self.seen.stores)
        self.held_out = self._frames("validation") if judged else None
        self.scale = self.frames.keypoints.std(dim=0).clamp(min=1e-6)

    def _frames(self, split: str) -> FrameDataset:
        recolored = self._recolored(split) if self.config.color_jitter else None
        rows = partial(self.seen.rows, self.network.reduce)
        return FrameDataset(self.seen.stores, split, self.source, rows, self.pictures, recolored)

    def _recolored(self, split: str) -> Recolored:
        """Draws of colours by seed and split, so that they are the same after a restart."""
        rng = np.random.default_rng([self.seed, ("train", "validation").index(split), COLORS])

        def of(frames: np.ndarray) -> tuple[np.ndarray, Tensor]:
            chosen = np.flatnonzero(rng.random(len(frames)) < self.config.color_jitter)
            if not len(chosen):
                return chosen, torch.empty(0)
            changed = recolored(np.asarray(frames)[chosen], rng)
            return chosen, self.seen.rows_of(self.network.reduce, changed)

        return of

    def loss(self, step: int) -> Tensor:
        """Both errors of frames that are drawn by seed and step alone."""
        rng, _ = generators_of(self.seed, step)
        batch = self.frames.draw(self.config.batch, self.config.other_looks, rng)
        terms = self._errors(self.state.live, batch)
        self.terms = {name: value.detach() for name, value in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def _errors(self, latent: Latent, batch: FrameBatch) -> dict[str, Tensor]:
        """Of latents, in changes of one block; of keypoints, in their standard deviations.

        Beyond one block's change an error counts linearly: a few frames in which all is hidden
        must not outweigh the precision of the others.
        """
        keypoints, z = latent(batch.x)
        return {
            "latent": F.smooth_l1_loss(z, batch.z),
            "keypoints": ((keypoints - batch.keypoints) / self.scale).square().mean(),
        }

    def after_step(self, step: int, norm: Tensor) -> None:
        """Move the average."""
        self.state.update(self.config.ema, step)

    def line(self) -> dict[str, Any]:
        """Loss and terms of the last step."""
        total = torch.stack(list(self.terms.values())).sum()
        return {"loss": float(total), "terms": {k: float(v) for k, v in self.terms.items()}}

    @torch.no_grad()
    def evaluate(self, step: int) -> dict[str, Any]:
        """How far held-out frames' latents are from the source's, as recorded and otherwise.

        Median over frames of the root mean square over ``Z``; a block of control steps changes the
        latent by 1.
        """
        if self.held_out is None:
            return {}
        kinds = {"as_recorded": self.held_out.recorded, "other_looks": self.held_out.other}
        self.last = {}
        for name, rows in kinds.items():
            if len(rows):
                some = rows[np.linspace(0, len(rows) - 1, min(JUDGED, len(rows))).astype(int)]
                batch = self.held_out.gather(some)
                z = torch.cat([self.state.ema(part)[1] for part in batch.x.split(256)])
                error = (z - batch.z).square().mean(dim=-1).sqrt()
                self.last[f"error_{name}"] = float(error.median())
        return {"validation": self.last}

    def _averaged(self) -> Network:
        """The averaged network as it is shipped, rounded to half precision."""
        network = copy.deepcopy(self.network)
        for part in ("reduce", "projector", "embedding"):
            getattr(network, part).load_state_dict(getattr(self.state.ema, part).state_dict())
        network.load_state_dict(full_precision(half_precision(network)))
        return network

    def _freeze(self) -> dict[str, str]:
        """Write the encoder that learned, if one did; the parents of the world model."""
        learned = self.state.ema.encoder
        if learned is None:
            return self.parents
        assert self.encoder_out is not None  # checked at the start
        made = save_encoder(
            self.encoder_out, learned, self.parents,
            {"distill": self.identity, "last": {"validation": self.last}},
            f"# Video encoder that learned the latent of `{self.spec.task}`\n\n"
            f"{self.config.steps:,} steps of {self.config.batch} frames; see the card of the world "
            "model over it. Feed uint8 RGB, each frame alone.\n",
        )  # fmt: skip
        return {"encoder": str(made["sha256"]), **self.parents}

    def finish(self) -> Path:
        """Write the artefact."""
        network, c, parents = self._averaged(), self.config, self._freeze()
        tokens = self.seen.sample(EXPLAINING, self.state.ema.encoder)
        facts = {
            "family": NAME,
            "config": {**self.identity, "distilled": True},
            "datasets": self.datasets,
            "parameters": sum(p.numel() for p in network.parameters()),
            "explained_variance": network.reduce.explained(tokens),
            "last": {"validation": self.last},
        }
        described = {
            "spec": spec_to_json(self.spec), "sizes": asdict(network.sizes),
            "cost": self.source.cost,
        }  # fmt: skip
        sheet = contact_sheet(self.seen.stores, self.seed)
        save_artifact(
            self.out / KIND, KIND, half_precision(network), described, parents, facts,
            card_of(self.spec.task, c, facts, parents), {SHEET: sheet},
        )  # fmt: skip
        return self.out / KIND


def check_robot(source: ModelSpec, wanted: ModelSpec) -> None:
    """Refuse episodes of another robot; its pictures may have another size.

    Raises:
        DataError: another task, control period or bounds.
    """
    ours, theirs = spec_to_json(wanted), spec_to_json(source)
    keys = ("task", "control_dim", "control_dt", "action_low", "action_high")
    if differ := [key for key in keys if ours[key] != theirs[key]]:
        raise DataError(
            f"episodes with {', '.join(f'{k} {ours[k]}' for k in differ)}",
            ", ".join(f"{k} {theirs[k]}" for k in differ) + ", as the source was trained on",
            "distil a model of this robot",
        )
