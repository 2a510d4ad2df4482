"""Weights on disk: safetensors plus readable JSON, verified and loaded strictly. No pickle, ever.

An artefact folder holds ``weights.safetensors``, ``config.json``, ``card.md`` and the manifest
that names its parents and the hash of every file. A training state is the same idea with the
optimiser and every random generator inside, so that resuming equals never having stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robot_wm.errors import DataError, WeightsError
from robot_wm.manifest import (
    atomic_folder,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)

WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.json", "card.md"
STATE_KIND = "training_state"

Generators = Mapping[str, np.random.Generator]


def save_artifact(
    folder: Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    facts: Mapping[str, Any],
    card: str,
    extra: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Write weights, configuration, card and manifest in one step; return the manifest.

    Args:
        folder: replaced as a whole.
        extra: further files by name.
        kind: e.g. ``encoder``; the loader must name the same.
        tensors: written from the CPU; values that share memory are copied apart.
        config: whatever rebuilds the module (JSON).
        parents: sha256 of each parent artefact, by role.
        facts: measured numbers for the manifest.
        card: Markdown for people.

    Raises:
        StorageError: the disk is full; nothing half-written is left.
    """
    with atomic_folder(Path(folder), replaces=kind) as work:
        save_file(_plain(tensors), work / WEIGHTS)
        write_json(work / CONFIG, dict(config))
        (work / CARD).write_text(card, encoding="utf-8")
        for name, content in (extra or {}).items():
            (work / name).write_bytes(content)
        return write_manifest(work, kind, parents, facts)


def load_artifact(
    folder: Path, kind: str
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Tensors, configuration and manifest of an artefact, every hash verified.

    Raises:
        WeightsError: missing, truncated, altered, or of another kind.
    """
    folder = Path(folder)
    try:
        manifest = read_manifest(folder, kind)
        core = {key: manifest[key] for key in ("kind", "parents", "files")}
        if manifest["sha256"] != sha256_of(core) or WEIGHTS not in manifest["files"]:
            raise DataError("its manifest was edited", "the manifest as written", "rebuild it")
        return load_file(folder / WEIGHTS), read_json(folder / CONFIG), manifest
    except (DataError, SafetensorError, OSError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"cannot load {kind} from {folder}: {error}",
            "the folder as the training command wrote it",
            "copy it again or train it again",
        ) from error


def half_precision(module: nn.Module) -> dict[str, Tensor]:
    """State of a module, its weight matrices in half precision: half the size on disk."""
    wide = {name for name, p in module.named_parameters() if p.ndim > 1}
    return {k: v.half() if k in wide else v for k, v in module.state_dict().items()}


def full_precision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Half-precision tensors as float32, the others as they are."""
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], source: str = "weights") -> None:
    """Copy tensors into a module; names, shapes and dtypes must agree exactly.

    Raises:
        WeightsError: a missing, unexpected, misshapen or wrongly typed tensor.
    """
    own = module.state_dict()
    wrong = sorted(own.keys() ^ tensors.keys())
    wrong += [
        f"{name} is {tuple(tensors[name].shape)} {tensors[name].dtype}, "
        f"not {tuple(own[name].shape)} {own[name].dtype}"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape or own[name].dtype != tensors[name].dtype
    ]
    if wrong:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {'; '.join(wrong[:4])}",
            "tensors with the names, shapes and dtypes of the model",
            "use the configuration stored beside the weights",
        )
    module.load_state_dict(dict(tensors))


def save_training_state(
    folder: Path,
    step: int,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Generators,
    config: Mapping[str, Any],
) -> Path:
    """Write ``folder/step-NNNNNNNN`` in one step, then drop older states.

    The new state stands complete before the old one goes: a kill at any moment leaves one whole.

    Raises:
        StorageError: the disk is full; the previous state is untouched.
    """
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for name, value in slots.items():
            tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    tensors["torch_rng"] = torch.get_rng_state()
    scalars = {
        "step": step,
        "config": dict(config),
        "generators": {name: rng.bit_generator.state for name, rng in generators.items()},
        "groups": optimizer.state_dict()["param_groups"],
    }
    target = Path(folder) / f"step-{step:08d}"
    with atomic_folder(target, replaces=STATE_KIND) as work:
        save_file(_plain(tensors), work / WEIGHTS)
        write_json(work / CONFIG, scalars)
        write_manifest(work, STATE_KIND, parents={}, facts={"step": step})
    for old in Path(folder).glob("step-*"):
        if old != target:
            shutil.rmtree(old)
    return target


def load_training_state(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    generators: Generators,
    config: Mapping[str, Any],
) -> int:
    """Restore the newest state below ``folder``; return its step, or 0 when there is none.

    Raises:
        WeightsError: the state is damaged or belongs to another configuration.
    """
    states = sorted(Path(folder).glob("step-*"))
    if not states:
        return 0
    tensors, scalars, _ = load_artifact(states[-1], STATE_KIND)
    if scalars["config"] != dict(config):
        found = scalars["config"]
        keys = sorted(k for k in found.keys() | config.keys() if found.get(k) != config.get(k))
        raise WeightsError(
            f"{states[-1]} was trained with another configuration (differs in: {', '.join(keys)})",
            "the configuration of the interrupted run",
            "choose another output folder, or delete that one to start again",
        )
    load_module(module, _below(tensors, "module."), str(states[-1]))
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _below(tensors, "optimizer.").items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": scalars["groups"]})
    torch.set_rng_state(tensors["torch_rng"])
    for name, rng in generators.items():
        rng.bit_generator.state = scalars["generators"][name]
    return int(scalars["step"])


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
