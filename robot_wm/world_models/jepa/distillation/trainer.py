"""Carry a world model over to another frozen encoder and to other looks.

Projector and embedding learn to say of a frame, whatever its colours, light and camera, what the
source says of the same state as it was recorded (distillation, Hinton et al. 2015,
arXiv:1503.02531). Predictor, actor and goal distance come along as they are: what they learned from
many episodes is kept, for the latent is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.core.errors import DataError
from robot_wm.core.protocols import ModelSpec, spec_to_json
from robot_wm.core.storage.markdown import card, table
from robot_wm.data.color_jitter import recolored
from robot_wm.data.formats.base import spec_of
from robot_wm.data.sequences import Pair, open_pairs, sample_tokens, usable
from robot_wm.encoders.base import Encoder
from robot_wm.training.checkpoint import full_precision, half_precision, save_artifact
from robot_wm.training.ema import Averaged
from robot_wm.training.loop import Pace, Training, fit, generators_of
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.run_log import Log
from robot_wm.world_models.distillation import FREE, DistillConfig
from robot_wm.world_models.jepa.artifact import ABOUT, grid_of, layer_norm_of
from robot_wm.world_models.jepa.distillation.dataset import (
    FrameBatch,
    FrameDataset,
    Pictures,
    Recolored,
)
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
) -> Path:
    """Train, and write ``out/world_model``: ``source`` over another encoder.

    Args:
        source: whose latent is learned; all else is taken from it.
        datasets, latents: episodes as recorded and in other looks, with their caches.
        encoder: the one the latents were made with.
        seed: of weights and batches.
        out: run folder; an interrupted run there goes on.
        pictures: draws physics states as the source sees them, where the episodes' frames have
            another size.

    Raises:
        DataError: another task or robot than the source's, or frames that it cannot judge.
        WeightsError: ``out`` holds a run with another configuration.
    """
    pairs = open_pairs(source.spec.task, datasets, latents, encoder.sha256)
    return fit(
        partial(Distillation, config, source, pairs, encoder, seed, Path(out), pictures), out
    )


class Latent(nn.Module):
    """What learns: reduced tokens ``[B, P, R]`` to keypoints ``[B, 4 K]``, latents ``[B, Z]``."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.projector, self.embedding = network.projector, network.embedding
        self.whiten = network.whiten

    def forward(self, reduced: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        keypoints = self.projector(reduced)
        return keypoints, self.whiten(self.embedding(keypoints))


class Distillation(Training):
    """Projector and embedding, learning from another model's latents; see :func:`distill`."""

    title, section = "distill", "distill"

    def __init__(
        self,
        config: DistillConfig,
        source: JEPAWorldModel,
        pairs: list[Pair],
        encoder: Encoder,
        seed: int,
        out: Path,
        pictures: Pictures | None = None,
    ) -> None:
        self.config, self.source, self.pairs, self.encoder = config, source, pairs, encoder
        self.seed, self.out, self.pictures = seed, out, pictures
        check_robot(source.spec, spec_of(pairs[0][0], CONTEXT, source.spec.horizon))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = self._fresh()
        memory = candidate_bytes(self.network.sizes)
        self.spec = spec_of(pairs[0][0], CONTEXT, source.spec.horizon, memory)
        live = Latent(self.network).train().requires_grad_(True)
        self.state: Averaged[Latent] = Averaged(live)
        self.trained, self.generators = live, {}
        c, hashes = config, source.spec.hashes
        self.parents = {
            "encoder": encoder.sha256, "latent": hashes[KIND], "latent_encoder": hashes["encoder"],
        }  # fmt: skip
        decisive = {k: v for k, v in asdict(c).items() if k not in FREE}
        self.datasets = [store.sha256 for store, _ in pairs]
        self.identity = decisive | {
            "seed": seed, "parents": self.parents, "datasets": self.datasets
        }  # fmt: skip
        self.pace = Pace(
            c.steps, c.log_every, c.evaluate_every, c.checkpoint_every, c.weight_decay, c.clip
        )
        self.last, self.terms = dict[str, float](), dict[str, Tensor]()

    def _fresh(self) -> Network:
        """The source's network, but for a new reduction and projector of the encoder's shape."""
        own, (positions, width) = self.source.network.sizes, self.pairs[0][1].token_shape
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
        self.explained = self.network.reduce.fit(sample_tokens(self.pairs, EXPLAINING))
        self.frames = self._frames("train")
        judged = any(usable(store, "validation") for store, _ in self.pairs)
        self.held_out = self._frames("validation") if judged else None
        self.scale = self.frames.keypoints.std(dim=0).clamp(min=1e-6)

    def _frames(self, split: str) -> FrameDataset:
        recolored = self._recolored(split) if self.config.color_jitter else None
        return FrameDataset(
            self.pairs, split, self.source, self.network.reduce, self.pictures, recolored
        )

    def _recolored(self, split: str) -> Recolored:
        """Draws of colours by seed and split, so that they are the same after a restart."""
        rng = np.random.default_rng([self.seed, ("train", "validation").index(split), COLORS])

        def of(frames: np.ndarray) -> tuple[np.ndarray, Tensor]:
            chosen = np.flatnonzero(rng.random(len(frames)) < self.config.color_jitter)
            if not len(chosen):
                return chosen, torch.empty(0)
            changed = recolored(np.asarray(frames)[chosen], rng)
            return chosen, self.encoder.encode_frames(changed).cpu()

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
                error = (self.state.ema(batch.x)[1] - batch.z).square().mean(dim=-1).sqrt()
                self.last[f"error_{name}"] = float(error.median())
        return {"validation": self.last}

    def model(self) -> JEPAWorldModel:
        """The averaged model as it would be shipped now, rounded to half precision."""
        network = copy.deepcopy(self.network)
        for part in ("projector", "embedding"):
            getattr(network, part).load_state_dict(getattr(self.state.ema, part).state_dict())
        network.load_state_dict(full_precision(half_precision(network)))
        return JEPAWorldModel(network, self.encoder, self.spec, self.source.cost)

    def finish(self) -> Path:
        """Write the artefact."""
        model, c = self.model(), self.config
        facts = {
            "family": NAME,
            "config": {**self.identity, "distilled": True},
            "datasets": self.datasets,
            "parameters": sum(p.numel() for p in model.network.parameters()),
            "explained_variance": float(self.explained),
            "last": {"validation": self.last},
        }
        described = {
            "spec": spec_to_json(self.spec), "sizes": asdict(model.network.sizes),
            "cost": model.cost,
        }  # fmt: skip
        sheet = contact_sheet([store for store, _ in self.pairs], self.seed)
        save_artifact(
            self.out / KIND, KIND, half_precision(model.network), described, self.parents, facts,
            _card(self.spec.task, c, facts, self.parents), {SHEET: sheet},
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


def _card(
    task: str, config: DistillConfig, facts: Mapping[str, Any], parents: Mapping[str, str]
) -> str:
    return card(
        f"World model for `{task}`, on another encoder",
        ABOUT,
        [
            f"Parents: {', '.join(f'{role} `{sha[:12]}`' for role, sha in parents.items())}",
            f"{facts['parameters']:,} parameters in half precision. Projector and embedding "
            f"learned the source's latent ({config.steps:,} steps of {config.batch} frames, "
            f"{config.other_looks:.0%} in other looks); predictor, proposer and goal distance are "
            "the source's",
            f"The fixed reduction keeps {facts['explained_variance']:.1%} of the token variance",
            "Trained for this scene and robot only; it has no notion of safety",
        ],
        table(
            ["held-out episodes", "value"],
            [[name, f"{value:.3f}"] for name, value in facts["last"]["validation"].items()],
        ),
    )
