"""Networks of stored world models, whatever their family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from robot_wm.core.errors import ConfigError, DataError, WeightsError
from robot_wm.core.protocols import ModelSpec, spec_from_json, spec_to_json
from robot_wm.core.storage.provenance import check_parent
from robot_wm.training.checkpoint import full_precision, load_artifact, load_module
from robot_wm.world_models.base import KIND

N = TypeVar("N", bound=nn.Module)
T = TypeVar("T")
FROZEN = "frozen."  # begins the names of what is another artefact's


def frozen_state(network: nn.Module) -> dict[str, Tensor]:
    """What is another artefact's: the submodule ``frozen``, if there is one."""
    return {k: v for k, v in network.state_dict().items() if k.startswith(FROZEN)}


def check_robot(folder: Path, spec: ModelSpec) -> None:
    """Refuse to train the model of one robot on the episodes of another.

    Raises:
        WeightsError: no such model. DataError: another task, control period or bounds.
    """
    stored_spec = load_artifact(folder, KIND)[1].get("spec")
    stored, wanted = stored_spec if isinstance(stored_spec, dict) else {}, spec_to_json(spec)
    keys = ("task", "image_size", "control_dim", "control_dt", "action_low", "action_high")
    if differ := [key for key in keys if stored.get(key) != wanted[key]]:
        raise DataError(
            f"{folder} is a model of {', '.join(f'{k} {stored.get(k)}' for k in differ)}",
            ", ".join(f"{k} {wanted[k]}" for k in differ) + ", as the episodes have",
            "tune a model of this robot, or train a new one",
        )


def take_over(network: nn.Module, folder: Path, parts: tuple[str, ...], spec: ModelSpec) -> None:
    """Copy parts of a stored world model into a network; of which family it is does not matter.

    Args:
        network: keeps all tensors whose names begin with none of ``parts``.
        spec: of the network.

    Raises:
        WeightsError: no such model, or its parts have other names or shapes.
        DataError: it is of another task, control period or bounds.
    """
    check_robot(folder, spec)
    own = {k: v for k, v in network.state_dict().items() if not k.startswith(parts)}
    stored = full_precision(load_artifact(folder, KIND)[0])
    given = {k: v for k, v in stored.items() if k.startswith(parts)}
    load_module(network, {**own, **given}, str(folder))


def load_network(
    folder: Path,
    encoder: str,
    make: Callable[[Mapping[str, Any], ModelSpec], tuple[N, T]],
    keys: type,
) -> tuple[N, T, ModelSpec]:
    """The network of an artefact, fixed, with what ``make`` made of it and the planner's spec.

    Args:
        encoder: sha256 of the encoder that is to be the model's parent.
        make: the network before its weights and what else is wanted, of what lies beside them.
        keys: what is read there, for messages.

    Raises:
        WeightsError: missing, altered or misshapen weights.
        DataError: the encoder is not the one this model was trained on.
    """
    tensors, described, manifest = load_artifact(folder, KIND)
    check_parent(manifest, "encoder", encoder)
    try:
        spec = spec_from_json(described["spec"])
        with torch.random.fork_rng(devices=[]):
            network, made = make(described, spec)
    except (KeyError, TypeError, ConfigError) as error:
        raise WeightsError(
            f"{folder} has an unusable configuration: {error}",
            f"the keys of {keys.__name__} and ModelSpec", "train the world model again",
        ) from error  # fmt: skip
    load_module(network, {**frozen_state(network), **full_precision(tensors)}, str(folder))
    network.requires_grad_(False)
    hashes = {**manifest["parents"], KIND: manifest["sha256"]}
    return network, made, replace(spec, hashes=hashes)
