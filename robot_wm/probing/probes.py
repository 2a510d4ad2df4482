"""The probes themselves: what is asked of the features, and the small networks that answer.

Positions and angles are read from one frame; velocities from two frames one block apart.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.core.config import Count, Device, Natural, NonNegative, Seed, Within, check_fields
from robot_wm.core.errors import ConfigError, DataError
from robot_wm.core.images import token_grid
from robot_wm.core.metrics import r2
from robot_wm.core.poses import PoseEntry
from robot_wm.data.episodes import SPLITS
from robot_wm.data.formats.base import EpisodeReader
from robot_wm.data.normalization import Statistics
from robot_wm.probing.networks import Attentive, Mlp

KINDS, PROBES = ("pixels", "random", "encoder", "imagenet"), ("attentive", "mlp")
RUN = 4  # frames are drawn in runs, so that most "previous" frames are encoded anyway


@dataclass(frozen=True)
class ProbeConfig:
    """What to probe and how long.

    Attributes:
        frames: training frames at most; a quarter of it is held out, an eighth chooses the epoch.
        look_frames: training frames in the looks of the collection and in others, half and half;
            0 leaves other looks out.
        look_test: held-out frames for every factor of looks, and for every level of it.
        imagenet_frames: the same for the ImageNet network, which costs 20 times the others.
        epochs, patience: passes over the training frames; stop after ``patience`` without a better
            validation R².
        hidden, batch, lr, weight_decay: of every probe (AdamW, one cycle of the learning rate).
        kinds, probes: what is compared; see ``KINDS`` and ``PROBES``.
        seed, threads, device: of torch; the command line sets the threads, here they are recorded.

    Raises:
        ConfigError: a value outside its range.
    """

    frames: Count = 75_000
    look_frames: Natural = 30_000
    look_test: Annotated[int, Within(2, 10**6)] = 400
    imagenet_frames: Natural = 3_000
    epochs: Count = 12
    patience: Count = 3
    hidden: Annotated[int, Within(1, 4096)] = 256
    batch: Annotated[int, Within(2, 10**6)] = 256
    lr: Annotated[float, Within(above=0, high=10)] = 2e-3
    weight_decay: NonNegative = 0.05
    kinds: tuple[str, ...] = KINDS
    probes: tuple[str, ...] = PROBES
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 2
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_fields(self, "probe")
        counts = (self.epochs, self.patience, self.hidden, self.batch)
        for holds, received, accepted in (
            (min(self.frames, self.imagenet_frames) >= 8, f"{self.frames} frames", "8 or more"),
            (min(counts) >= 1, f"epochs, patience, hidden, batch = {counts}", "1 or more"),
            (not 0 < self.look_frames < 16, f"look_frames {self.look_frames}", "0, 16 or more"),
            (self.lr > 0, f"lr = {self.lr}", "above 0"),
            (self.kinds and set(self.kinds) <= set(KINDS), f"kinds {self.kinds}", f"{KINDS}"),
            (self.probes and set(self.probes) <= set(PROBES), f"probes {self.probes}", f"{PROBES}"),
        ):
            if not holds:
                raise ConfigError(received, accepted, "change the probe config")


def group_of(name: str) -> str:
    """``velocity``, ``angle`` or ``position`` from the label of a factor such as ``y [rad/s]``."""
    kind = PoseEntry.parse(name).kind
    return "angle" if kind == "joint" else kind


def factors_of(
    poses: np.ndarray, pose: Sequence[PoseEntry], rows: np.ndarray, dt: float
) -> tuple[np.ndarray, list[str]]:
    """Targets of one episode.

    Args:
        poses: ``[T+1, K]``.
        pose: the ``K`` entries.
        rows: control steps at which frames were taken, ``[N]`` within 1 … T-1.
        dt: seconds per control step [s].

    Returns:
        float64 ``[N, C]`` and the factors' names. An angle becomes cos and sin. Where the pose has
        no velocity, each entry's central difference over two control steps is added.
    """
    columns, labels = [], []
    derive = all(entry.kind != "velocity" for entry in pose)
    for column, entry in zip(np.asarray(poses, np.float64).T, pose, strict=True):
        if entry.turns:
            columns += [np.cos(column[rows]), np.sin(column[rows])]
            labels += [f"cos {entry.label}", f"sin {entry.label}"]
        else:
            columns.append(column[rows])
            labels.append(entry.label)
        if derive:
            change = column[rows + 1] - column[rows - 1]
            change = np.arctan2(np.sin(change), np.cos(change)) if entry.turns else change
            columns.append(change / (2 * dt))
            labels.append(f"d {entry.name} [{entry.unit or '1'}/s]")
    return np.stack(columns, axis=1), labels


@dataclass(frozen=True)
class Samples:
    """Frames with what they show.

    Attributes:
        frames: uint8 ``[M, H, W, 3]``, each once.
        pairs: int64 ``[N, 2]``, the frame one block before and the frame itself, as rows.
        part: ``[N]``, 0 train, 1 validation, 2 (and more) test; no episode is learnt from and
            tested on.
        targets: float64 ``[N, C]``, of the second frame of each pair.
        factors: ``C`` names.
        states: physics states of the frames, ``[M, S]``, where they are needed.
    """

    frames: np.ndarray
    pairs: np.ndarray
    part: np.ndarray
    targets: np.ndarray
    factors: tuple[str, ...]
    states: np.ndarray | None = None


def draw(store: EpisodeReader, frames: int, rng: np.random.Generator) -> Samples:
    """Random runs of frames of every split.

    Raises:
        DataError: a split without usable episodes, a factor that never changes, or no poses.
    """
    store.needs("poses", work="a probe")
    schema, every = store.schema, store.schema.frame_every
    images, pairs, part, targets, states, count = [], [], [], [], [], 0
    labels: list[str] = []
    limits = (frames, frames // 8, frames // 4)
    for code, (split, limit) in enumerate(zip(SPLITS, limits, strict=True)):
        last = {i: (store.meta(i)["length"] - 1) // every for i in store.indices(split)}
        runs = [(i, k) for i, end in last.items() for k in range(1, end + 1, RUN)]
        if not runs:
            raise DataError(f"{store.root} has no {split} frames", "some", "collect more episodes")
        for i, k in (runs[j] for j in rng.permutation(len(runs))[: max(1, limit // RUN)]):
            stop = min(k + RUN, last[i] + 1)
            episode, blocks = store[i], np.arange(k, stop)
            rows, labels = factors_of(episode.poses, schema.pose, blocks * every, schema.control_dt)
            images.append(np.asarray(episode.frames[k - 1 : stop]))
            states.append(episode.states[(k - 1) * every : stop * every : every])
            pairs.append(count + blocks[:, None] - k + [0, 1])
            part.append(np.full(len(blocks), code))
            targets.append(rows)
            count += len(blocks) + 1
    arrays = [np.concatenate(x) for x in (images, pairs, part, targets)]
    known = tuple(labels), np.concatenate(states)
    joined = Samples(arrays[0], arrays[1], arrays[2], arrays[3], *known)
    for code in range(len(SPLITS)):
        still = joined.targets[joined.part == code].std(0) < 1e-9
        if still.any():
            names = [name for name, bad in zip(labels, still, strict=True) if bad]
            raise DataError(f"{names} never change ({SPLITS[code]})", "motion", "collect more")
    return joined


def standardize(tokens: np.ndarray, rows: np.ndarray) -> None:
    """Centre per (position, channel), scale per channel, by the statistics of ``rows``; in place.

    One scale for all positions: a pixel that hardly ever changes must not become loud noise.
    """
    parts = np.array_split(rows, max(1, len(rows) // 512))
    mean = sum(tokens[p].sum(0, dtype=np.float64) for p in parts) / len(rows)
    square = sum(np.square(tokens[p] - mean).mean(1).sum(0) for p in parts) / len(rows)
    std = np.where(square < 1e-12, 1.0, np.sqrt(square)).astype(np.float32)
    for start in range(0, len(tokens), 512):
        chunk = tokens[start : start + 512].astype(np.float32)
        tokens[start : start + 512] = (chunk - mean.astype(np.float32)) / std


def score(config: ProbeConfig, samples: Samples, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Held-out R² ``[C]`` of the first test part, see :func:`score_parts`."""
    return {name: found[0] for name, found in score_parts(config, samples, tokens).items()}


def score_parts(config: ProbeConfig, samples: Samples, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Train every probe on features of ``samples.frames``.

    Args:
        tokens: float16 or float32 ``[M, P, D]``; standardised in place.

    Returns:
        probe name -> held-out R² ``[G, C]`` of every test part, 1 - SSE/SST per factor.

    Raises:
        DataError: features that are not finite.
    """
    if not np.isfinite(tokens).all():
        raise DataError("features with NaN or infinity", "finite numbers", "check the encoder")
    standardize(tokens, np.unique(samples.pairs[samples.part == 0]))
    source = torch.from_numpy(tokens).to(config.device)
    moving = np.array([group_of(name) == "velocity" for name in samples.factors])
    out = {}
    for name in config.probes:
        out[name] = np.empty((samples.part.max() - 1, len(moving)))
        for columns, rows in ((~moving, samples.pairs[:, 1:]), (moving, samples.pairs)):
            if columns.any():
                wanted = replace(samples, targets=samples.targets[:, columns], pairs=rows)
                out[name][:, columns] = _fit(config, name, wanted, source)
    return out


def _fit(config: ProbeConfig, name: str, samples: Samples, source: Tensor) -> np.ndarray:
    parts = [np.flatnonzero(samples.part == code) for code in range(samples.part.max() + 1)]
    train, validation, *tests = parts
    scaled = Statistics.fit(samples.targets[train]).normalize(samples.targets)
    targets = torch.from_numpy(scaled).to(config.device)
    pairs = torch.from_numpy(samples.pairs).to(config.device)
    shape = (pairs.shape[1], *source.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        size = shape, targets.shape[1], config.hidden
        grid = token_grid(shape[1], *samples.frames.shape[1:3])
        net = (Mlp(*size) if name == "mlp" else Attentive(*size, grid)).to(config.device)

    def read(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(rows).to(config.device)
        tokens = source.index_select(0, pairs[index].flatten()).float()
        return net(tokens.view(-1, *shape)), targets[index]

    @torch.no_grad()
    def explained(rows: np.ndarray) -> np.ndarray:
        parts = np.array_split(rows, -(-len(rows) // config.batch))
        both = zip(*map(read, parts), strict=True)
        guess, truth = (torch.cat(x).double().cpu().numpy() for x in both)
        scores: np.ndarray = r2(guess, truth)
        return scores

    optimizer = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=config.weight_decay)
    batches = -(-len(train) // config.batch)
    total = config.epochs * batches
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total, pct_start=0.1)
    rng = np.random.default_rng(config.seed)
    best, stale, best_state = -np.inf, 0, copy.deepcopy(net.state_dict())
    for _ in range(config.epochs):
        for rows in np.array_split(rng.permutation(train), batches):
            optimizer.zero_grad(set_to_none=True)
            F.mse_loss(*read(rows)).backward()
            optimizer.step()
            schedule.step()
        now = float(explained(validation).mean())
        stale = 0 if now > best else stale + 1
        if now > best:
            best, best_state = now, copy.deepcopy(net.state_dict())
        if stale >= config.patience:
            break
    net.load_state_dict(best_state)
    return np.stack([explained(test) for test in tests])
