"""One loop for every training: steps, learning rate, clipping, log, evaluation, checkpoints.

What differs between trainings is a :class:`Training`; :func:`fit` drives it. Resuming equals never
having stopped: whatever is random in a step comes from :func:`generators_of` seed and step, or from
``Training.generators``, which the checkpoints keep. Nothing global is changed: torch's own
generator is given back as it was, and its threads are whoever's started the process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError
from robot_wm.core.storage.locks import lock
from robot_wm.core.system.progress import progress
from robot_wm.training.checkpoint import load_training_state, save_training_state
from robot_wm.training.optim import make_optimizer
from robot_wm.training.run_log import Log


@dataclass(frozen=True)
class Pace:
    """Length, rhythm and brakes of a training; all ``every`` in steps, 0 switches off.

    Attributes:
        steps: optimizer steps in all.
        log_every, evaluate_every: the last step does both in any case.
        checkpoint_every: where :func:`fit` stops, it writes a checkpoint in any case.
        weight_decay: see :func:`make_optimizer`.
        clip: largest gradient norm.
    """

    steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    weight_decay: float
    clip: float

    def due(self, every: int, step: int, last: int) -> bool:
        """Whether something is to be done after ``step``; if at all, it is after the ``last``."""
        return bool(every) and (step % every == 0 or step == last)


class Training(ABC):
    """What one training is: its weights, the loss of a step, and what happens around it.

    Attributes:
        title: for progress reports.
        section: where its options stand in the configuration, for messages.
        states: name of the folder of checkpoints in the run's.
        pace: see :class:`Pace`.
        state: module with everything that a checkpoint must hold.
        trained: the part of it whose parameters learn.
        generators: those that run on from step to step, by name.
        identity: JSON that a resumed run must have in common with the interrupted one.
    """

    title: ClassVar[str]
    section: ClassVar[str]
    states: ClassVar[str] = "state"
    pace: Pace
    state: nn.Module
    trained: nn.Module
    generators: Mapping[str, np.random.Generator]
    identity: Mapping[str, Any]

    @abstractmethod
    def learning_rate(self, step: int) -> float:
        """Of a step; steps count from 1."""

    @abstractmethod
    def loss(self, step: int) -> Tensor:
        """Scalar to minimize in a step, with gradients for ``trained``."""

    @abstractmethod
    def line(self) -> Mapping[str, Any]:
        """What the log says since the last line; ``loss`` is shown while it runs."""

    @abstractmethod
    def finish(self) -> Path:
        """Write the artefact after the last step, and return its folder."""

    def begin(self, step: int, log: Log) -> None:  # noqa: B027  (a hook; most need none)
        """Prepare what is needed from here on; ``step`` steps are done (0: a fresh run)."""

    def after_step(self, step: int, norm: Tensor) -> None:  # noqa: B027
        """Called after the optimizer's step with the gradient's norm before it was clipped."""

    def evaluate(self, step: int) -> Mapping[str, Any]:
        """Measure, and return what is to be logged; nothing if empty."""
        return {}


def generators_of(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Fresh generators of one step, which no checkpoint need keep."""
    torchs = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return np.random.default_rng([seed, step]), torchs


def fit(
    make: Callable[[], Training], out: Path, resume: bool = True, stop_at: int | None = None
) -> Path:
    """Carry out a training in a run folder, one process at a time.

    Args:
        make: builds the training, weights included, as it is before its first step.
        out: run folder, gets ``log.jsonl`` and the checkpoints.
        resume: go on from the newest checkpoint in ``out``, where there is one.
        stop_at: leave off after this many steps with a checkpoint and without an artefact.

    Returns:
        The artefact's folder, or the checkpoints' where it left off.

    Raises:
        ConfigError: loss or gradient are not finite any more.
        WeightsError: the checkpoint is damaged, or of another ``identity``.
        StorageError: the disk is full, or another process trains into ``out``.
    """
    with lock(Path(out), "training into"), torch.random.fork_rng(devices=[]):
        return _fit(make(), Path(out), resume, stop_at)


def _fit(training: Training, out: Path, resume: bool, stop_at: int | None) -> Path:
    pace, states, log = training.pace, out / training.states, Log(out / "log.jsonl")
    optimizer = make_optimizer(training.trained, training.learning_rate(1), pace.weight_decay)
    stored = (training.state, optimizer, training.generators, training.identity)
    step = load_training_state(states, *stored) if resume else 0
    log.open(step)
    training.begin(step, log)
    last = pace.steps if stop_at is None else min(pace.steps, stop_at)
    with progress(training.title, pace.steps) as report:
        while step < last:
            step += 1
            _take(training, optimizer, step)
            note = ""
            if pace.due(pace.log_every, step, pace.steps):
                line = training.line()
                log.write(step, lr=training.learning_rate(step), **line)
                note = f"loss {line['loss']:.3f}"
            report(step, note)
            due = pace.due(pace.evaluate_every, step, pace.steps)
            if due and (values := training.evaluate(step)):
                log.write(step, **values)
            if step == last or pace.due(pace.checkpoint_every, step, last):
                save_training_state(states, step, *stored)
    return states if last < pace.steps else training.finish()


def _take(training: Training, optimizer: torch.optim.Optimizer, step: int) -> None:
    """One optimizer step."""
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate(step)
    training.trained.train()
    loss = training.loss(step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(training.trained.parameters(), training.pace.clip)
    if not torch.isfinite(norm + loss.detach()):
        raise ConfigError(
            f"loss {float(loss.detach())} with a gradient of norm {float(norm)} at step {step}",
            "finite numbers", f"lower {training.section}.lr or {training.section}.clip",
        )  # fmt: skip
    optimizer.step()
    training.after_step(step, norm)
