"""How fast are encoding and training here, in seconds and against a plain matrix product.

Machines differ and neighbours disturb: every rate comes with the matrix-product speed measured in
the same minute, turn by turn, and with their ratio, which travels better than the rate.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robot_wm.core.errors import ConfigError
from robot_wm.core.images import sides
from robot_wm.core.storage.provenance import provenance
from robot_wm.core.system.machine import matmul_gflops
from robot_wm.data.sequences import SequenceBatch
from robot_wm.encoders.frozen import FrozenEncoder
from robot_wm.training.ema import Averaged
from robot_wm.training.optim import make_optimizer
from robot_wm.world_models.jepa.model import Sizes
from robot_wm.world_models.jepa.training.config import TrainConfig
from robot_wm.world_models.jepa.training.objective import TrainingModule


def bench_encode(
    encoder: FrozenEncoder, batch: int = 256, threads: int = 2, repeats: int = 5
) -> dict[str, Any]:
    """Frames encoded per second [latents/s], as for a latent cache.

    Args:
        encoder: any frozen encoder, on the CPU.
        batch: frames at once.
        threads: of torch, during the measurement.
        repeats: the median of this many is reported.

    Returns:
        A row: ``bench, unit, rate, samples, seconds, gflop_per_sample, matmul_gflops, ratio``
        (share of the matrix product's speed), ``threads, repeats`` and provenance.

    Raises:
        ConfigError: a count below 1.
    """
    shape = (batch, *sides(encoder.config.image_size), 3)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return _row(
        "encode", "latents/s", lambda: encoder.encode_frames(frames, batch), batch, threads, repeats
    )


def bench_training(
    config: TrainConfig,
    positions: int = 64,
    encoder_width: int = 128,
    action: int = 10,
    control: int = 2,
    columns: int = 0,
    threads: int = 2,
    repeats: int = 5,
) -> dict[str, Any]:
    """Training windows per second [windows/s] of the first stage: loss, gradients, AdamW, average.

    Args:
        config: sizes, batch and losses of the world model.
        positions, encoder_width: ``P`` and ``D`` of the encoder's tokens.
        action, control: ``A``, size of one block's action, and of one control step's.
        columns: of the grid of tokens; 0 where it is square.
        threads, repeats: see :func:`bench_encode`.

    Returns:
        A row as of :func:`bench_encode`.

    Raises:
        ConfigError: a count below 1.
    """
    shape = dict[str, Any](
        positions=positions, columns=columns, encoder_width=encoder_width, action=action
    )
    shared = {f.name: getattr(config, f.name) for f in fields(Sizes) if hasattr(config, f.name)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        live = TrainingModule(Sizes(**shape, **shared), config, control)
    state, stage = Averaged(live), config.representation_stage
    optimizer = make_optimizer(live, config.lr, config.weight_decay)
    generator = torch.Generator().manual_seed(config.seed)
    batch = synthetic_batch(config, positions, action, generator)

    def step() -> None:
        terms = live.representation_loss(stage, batch, generator)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(live.parameters(), config.clip)
        optimizer.step()
        state.update(config.ema, 1)

    return _row("train", "windows/s", step, config.batch, threads, repeats)


def synthetic_batch(
    config: TrainConfig, positions: int, action: int, generator: torch.Generator
) -> SequenceBatch:
    """Random windows of the right shapes; see :class:`robot_wm.data.sequences.SequenceBatch`."""
    b, w, h = config.batch, config.window, config.horizon

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    steps = torch.arange(w)
    return SequenceBatch(
        x=normal(b, w, positions, config.reduced),
        actions=normal(b, w - 1, action).clamp(-1, 1),
        plans=normal(b, w - 1, h, action).clamp(-1, 1),
        near=normal(b, w - 1, positions, config.reduced),
        far=normal(b, positions, config.reduced),
        k_near=torch.ones(b, w - 1, dtype=torch.int64),
        k_far=(w - 1 - steps).expand(b, w),
    )


def _row(
    name: str, unit: str, work: Callable[[], Any], samples: int, threads: int, repeats: int
) -> dict[str, Any]:
    if min(samples, threads, repeats) < 1:
        raise ConfigError(
            f"batch, threads, repeats = {samples, threads, repeats}", "1 or more", "raise them"
        )
    reference = torch.ones(768, 768)
    with _threads(threads):
        with FlopCounterMode(display=False) as counter:  # also the warm-up
            work()
        # Turn by turn: a neighbour on this machine slows both alike.
        turns = [(matmul_gflops(reference), _seconds(work)) for _ in range(repeats)]
    speed, seconds = (statistics.median(column) for column in zip(*turns, strict=True))
    gflop = counter.get_total_flops() / 1e9
    return {
        "bench": name,
        "unit": unit,
        "rate": samples / seconds,
        "samples": samples,
        "seconds": seconds,
        "gflop_per_sample": gflop / samples,
        "matmul_gflops": speed,
        "ratio": gflop / seconds / speed,
        "threads": threads,
        "repeats": repeats,
        **provenance(),
    }


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
