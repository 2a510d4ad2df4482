"""What a world model is stored with: contract and sizes, card, and what it took over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from robot_wm.core.errors import ConfigError, WeightsError
from robot_wm.core.protocols import ModelSpec
from robot_wm.data.formats.base import spec_of
from robot_wm.data.sequences import Pair
from robot_wm.encoders.base import Encoder
from robot_wm.training.checkpoint import full_precision, load_artifact, load_module
from robot_wm.world_models.jepa.model import CONTEXT, KIND
from robot_wm.world_models.jepa.network import Network, Sizes, candidate_bytes
from robot_wm.world_models.jepa.training.config import TrainConfig

ABOUT = (
    "Predicts the compact latent of the next frame, one block of control steps ahead, over a "
    "frozen video encoder, and judges plans by their distance to a goal image."
)
# Sizes that the training configuration chooses; the others follow from the data.
CHOSEN = tuple(f.name for f in fields(Sizes) if f.name in TrainConfig.__dataclass_fields__)


def build_spec(
    config: TrainConfig, pairs: Sequence[Pair], encoder: Encoder
) -> tuple[ModelSpec, Sizes]:
    """What the planner must know, and the shape of the network.

    Raises:
        ConfigError: more numbers per token than the encoder gives, tokens in no grid, or a taught
            actor that is to learn from episodes.
    """
    schema = pairs[0][0].schema
    positions, width = pairs[0][1].token_shape
    if config.reduced > width:
        raise ConfigError(
            f"model.reduced = {config.reduced}", f"at most {width}, the encoder's width",
            "lower model.reduced",
        )  # fmt: skip
    rows, columns = grid_of(encoder, positions)
    sizes = Sizes(
        positions=positions,
        columns=0 if rows == columns else columns,
        encoder_width=width,
        action=schema.frame_every * len(schema.control_low),
        layer_norm=layer_norm_of(encoder),
        **{name: getattr(config, name) for name in CHOSEN},
    )
    if config.fine_tune:
        sizes = _with_actor_of(Path(config.latent_of), sizes, config)
    spec = spec_of(pairs[0][0], CONTEXT, config.horizon, candidate_bytes(sizes))
    return spec, sizes


def _with_actor_of(folder: Path, sizes: Sizes, config: TrainConfig) -> Sizes:
    """The sizes with the actor of the model to be tuned, if that has been taught one.

    Raises:
        ConfigError: it has, and is to learn from episodes.
    """
    stored = Sizes.stored(load_artifact(folder, KIND)[1], folder)
    if not stored.actor:
        return sizes
    if config.proposer:
        raise ConfigError(
            f"train.proposer = {config.proposer} while tuning {folder}, whose actor was taught",
            "0: an actor learns from lessons, not from episodes",
            "train.proposer=0, and train.distance=0 to keep its critic as well",
        )  # fmt: skip
    return replace(
        sizes, actor=True, heads=stored.heads, proposer_width=stored.proposer_width,
        proposer_blocks=stored.proposer_blocks,
    )  # fmt: skip


def layer_norm_of(encoder: Encoder) -> bool:
    """Whether an encoder's tokens are to be normalised one by one; they are, unless it says no."""
    return bool(getattr(encoder, "layer_norm", True))


def grid_of(encoder: Encoder, positions: int) -> tuple[int, int]:
    """Rows and columns of an encoder's tokens.

    Raises:
        ConfigError: it does not say them, or they hold another number of tokens.
    """
    grid = getattr(encoder.config, "grid", None)
    if not isinstance(grid, tuple) or len(grid) != 2 or math.prod(grid) != positions:
        raise ConfigError(
            f"an encoder of {positions} tokens whose config.grid is {grid}",
            "(rows, columns) of its tokens: this world model looks at where they lie",
            "give the encoder's `config` a `grid`, or train another family of world models",
        )
    return grid


def own_sizes(folder: Path) -> dict[str, Any]:
    """What a stored world model's training configuration said about its network.

    Raises:
        WeightsError: no such model.
    """
    sizes = Sizes.stored(load_artifact(folder, KIND)[1], folder)
    return {name: getattr(sizes, name) for name in CHOSEN}


def taught_cost(folder: Path) -> str:
    """The step cost of a stored world model whose actor was taught; empty of any other.

    Raises:
        WeightsError: no such model.
    """
    stored = load_artifact(folder, KIND)[1]
    return str(stored["cost"]) if Sizes.stored(stored, folder).actor else ""


def load_submodules(network: Network, folder: Path, embedded: bool, whole: bool) -> float:
    """Copy the reduction and the projector of a stored world model; its explained fraction.

    Args:
        network: takes them over.
        folder: the stored model.
        embedded: take the embedding, too.
        whole: take everything.

    Raises:
        WeightsError: no such model, or one of other sizes.
    """
    tensors, _, manifest = load_artifact(folder, KIND)
    tensors = full_precision(tensors)
    wanted = {"reduce", "projector", *(["embedding"] if embedded else [])}
    for name, module in network.named_children():
        if whole or name in wanted:
            head = f"{name}."
            part = {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
            load_module(module, part, f"{name} of {folder}")
    explained = manifest["facts"].get("explained_variance")
    if not isinstance(explained, float) or not 0 <= explained <= 1:
        raise WeightsError(
            f"{folder} says explained_variance = {explained!r}", "a share from 0 to 1",
            "copy it again, or train the world model again",
        )  # fmt: skip
    return explained


def how_trained(config: TrainConfig) -> str:
    """Precision, stages, seed and average, in words for the card."""
    first = f"{config.steps:,} steps of {config.batch} windows"
    if config.latent_of:
        first = "all" if config.fine_tune else "the projector"
        first += " of an earlier model"
        first += f" (averaged in, {config.interpolation:.0%})" if config.interpolation else ""
    frames = config.embedding_episodes * config.embedding_frames
    second = (
        f"{config.embedding_steps:,} of {frames:,} pairs for the embedding, "
        if config.embedding_steps
        else ""
    )
    last = f"then {config.dynamics_steps:,} of {config.dynamics_batch} windows"
    return (
        f" in half precision, {first}, {second}{last}, seed {config.seed}; weights are the running "
        "average at the last step"
    )
