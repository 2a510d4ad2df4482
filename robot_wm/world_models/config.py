"""What the training of every world model can be told; a family adds its own."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from robot_wm.core.aliases import stored
from robot_wm.core.config import Count, Device, Seed, Within, check_fields
from robot_wm.core.errors import ConfigError
from robot_wm.training.optim import warmup_cosine
from robot_wm.training.schedule import Schedule

Width = Annotated[int, Within(1, 4096)]
# These may differ between a stored model and the run that uses it again, and between the two halves
# of a resumed run; everything else decides the result.
FREE = ("threads", "eval_every", "checkpoint_every", "log_every", "device")


@dataclass(frozen=True)
class RunConfig:
    """A training of any family.

    Attributes:
        task: must be the data set's.
        seed, threads: of torch; the command line sets the threads, here they are recorded.
        checkpoint_every, log_every: in steps.

    Raises:
        ConfigError: a value outside its range, or values that do not fit together.
    """

    task: str
    seed: Seed = 0
    threads: Annotated[int, Within(1, 1024)] = 2
    checkpoint_every: Count = 500
    log_every: Count = 100

    def __post_init__(self) -> None:
        check_fields(self, "train")
        for names, (good, accepted) in self.checks().items():
            if not good:
                values = ", ".join(repr(getattr(self, name)) for name in names.split(", "))
                raise ConfigError(f"{names} = {values}", accepted, "change the training config")

    def checks(self) -> Mapping[str, tuple[bool, str]]:
        """Whether values fit together and what would, by names of fields (``"a, b"``)."""
        return {}

    def to_json(self, free: Sequence[str] = ()) -> dict[str, Any]:
        """Plain JSON without the fields of ``free``, by the names that files have always had."""
        plain = stored("train", json.loads(json.dumps(asdict(self))))
        return {name: value for name, value in plain.items() if name not in free}


@dataclass(frozen=True)
class FamilyConfig(RunConfig, ABC):
    """A training of a whole model, which is measured on the way.

    Attributes:
        horizon: blocks of a plan.
        device: of torch.
        eval_every: in steps.
    """

    horizon: Annotated[int, Within(1, 100)] = 5
    device: Device = "cpu"
    eval_every: Count = 2_000

    @property
    @abstractmethod
    def total(self) -> int:
        """Optimizer steps of all stages."""


@dataclass(frozen=True)
class AveragedConfig(Schedule, FamilyConfig):
    """A training whose running average of weights is validated and shipped."""

    def span(self, step: int) -> tuple[int, int]:
        """Steps before the stage of a step (from 1), and steps of that stage."""
        return 0, self.total

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine to 0, once in every stage. Steps count from 1."""
        start, steps = self.span(step)
        return warmup_cosine(self.lr, step - start, steps, min(self.warmup, steps))
