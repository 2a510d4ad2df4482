"""What decides an encoder's pretraining."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from robot_wm.core.aliases import stored
from robot_wm.core.config import (
    Count,
    Device,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    Seed,
    Within,
    check_fields,
)
from robot_wm.encoders.vit import EncoderConfig


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the weights, beside the data.

    Attributes:
        steps, batch: optimizer steps and clips per step.
        lr: peak learning rate, reached after the share ``warmup`` of all steps, then a half cosine
            down to ``lr_end`` of the peak.
        weight_decay: on matrices only; biases, norms and mask tokens have none.
        clip: largest gradient norm.
        seed: of weights, clips and masks.
        objective, options: registered name and its own configuration.
        encoder: shape of the encoder.
        block: control steps between the two frames of a clip.
        clips_per_episode: clips of one episode in a batch; they are each other's hard negatives.
        dataset_weights: weight of each collection in a batch, by its name (1 where unnamed).
            Randomised appearance is constant within a clip, so too much of it teaches colours, not
            objects.
        color_jitter: share of clips whose colours are changed at random, in both frames alike
            (:mod:`robot_wm.data.color_jitter`); what they were is their twin, see
            ``invariance_weight`` of the objective. 0 changes none.
        threads: of torch, which the command line sets; recorded here, as resuming to the bit needs
            equal ones. 0 is torch's own choice.
        device: ``cpu`` or ``cuda``; only ``cpu`` repeats to the bit.
        log_every, checkpoint_every, monitor_every: in steps; 0 switches off.
        monitor_train, monitor_test: frames per data set for the collapse meters and probes.
    """

    steps: Count = 5000
    batch: Annotated[int, Within(2, 10**6)] = 64
    lr: Annotated[float, Within(above=0, high=10)] = 1e-3
    warmup: Fraction = 0.05
    lr_end: Fraction = 0.05
    weight_decay: NonNegative = 0.04
    clip: Positive = 1.0
    seed: Seed = 0
    objective: str = "vjepa"
    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    block: Annotated[int, Within(1, 4096)] = 5
    clips_per_episode: Annotated[int, Within(1, 4096)] = 4
    dataset_weights: Mapping[str, NonNegative] = field(default_factory=lambda: {"nominal": 4.0})
    color_jitter: Fraction = 0.0
    threads: Annotated[int, Within(0, 1024)] = 0
    device: Device = "cpu"
    log_every: Natural = 50
    checkpoint_every: Natural = 200
    monitor_every: Natural = 500
    monitor_train: Count = 3000
    monitor_test: Count = 1500

    def __post_init__(self) -> None:
        check_fields(self, "pretrain")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        value: dict[str, Any] = stored("pretrain", json.loads(json.dumps(asdict(self))))
        return value
