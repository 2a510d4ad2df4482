"""Weights on disk: safetensors plus readable JSON, verified and loaded strictly. No pickle, ever.

An artefact folder holds ``weights.safetensors``, ``config.json``, ``card.md`` and the manifest
that names its parents and the hash of every file. A training state is the same idea with the
optimiser and every random generator inside, so that resuming equals never having stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robot_wm.core.config import Natural
from robot_wm.core.errors import DataError, StorageError, WeightsError
from robot_wm.core.storage.atomic_io import PARTIAL
from robot_wm.core.storage.json_io import parse_json
from robot_wm.core.storage.locks import disk_errors
from robot_wm.core.storage.provenance import (
    atomic_folder,
    canonical_json,
    claim,
    read_json,
    read_manifest,
    sha256_of,
    write_json,
    write_manifest,
)
from robot_wm.core.storage.records import parse_record

WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.json", "card.md"
STATE_KIND, NAME = "training_state", r"step-[0-9]{8,}"
AGAIN = "delete it and begin again, or copy it again"

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
        config = read_json(folder / CONFIG)
        if not isinstance(config, dict):
            raise DataError(f"{CONFIG} holds {type(config).__name__}", "an object", "restore it")
        return load_file(folder / WEIGHTS), config, manifest
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
    for old in _states(folder):
        if old != target:
            with contextlib.suppress(StorageError), disk_errors(old):
                claim(old, STATE_KIND)  # what somebody put there is not ours to remove
                # Out of sight first: a kill in between leaves what the next sweep removes.
                aside = old.with_name(f".{old.name}{PARTIAL}")
                os.rename(old, aside)
                shutil.rmtree(aside, ignore_errors=True)
    return target


def _states(folder: Path) -> list[Path]:
    """Training states of a run, the oldest first."""
    found = (path for path in Path(folder).glob("step-*") if re.fullmatch(NAME, path.name))
    return sorted(found, key=_step_of)


def _step_of(state: Path) -> int:
    return int(state.name.removeprefix("step-"))


@dataclass(frozen=True)
class _Scalars:
    """What ``config.json`` of a training state says.

    Attributes:
        step: optimiser steps taken.
        config: of the run; a resumed one must have the same.
        generators: states of random generators, by name.
        groups: the optimiser's.
    """

    step: Natural
    config: dict[str, Any]
    generators: dict[str, dict[str, Any]]
    groups: list[dict[str, Any]]


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
    states = _states(folder)
    if not states:
        return 0
    newest = states[-1]
    tensors, values, _ = load_artifact(newest, STATE_KIND)
    try:
        scalars = parse_record(values, _Scalars, str(newest / CONFIG))
        _check_config(scalars.config, config, newest)
        if scalars.step != _step_of(newest):
            raise DataError(f"{newest} of step {scalars.step}", "one step", "restore its name")
        load_module(module, _below(tensors, "module."), str(newest))
        optimizer.load_state_dict(_optimizer_state(optimizer, tensors, scalars.groups))
        if scalars.generators.keys() != generators.keys():
            raise DataError(f"generators {list(scalars.generators)}", f"{list(generators)}", AGAIN)
        for name, rng in generators.items():
            rng.bit_generator.state = scalars.generators[name]
        torch.set_rng_state(tensors["torch_rng"])
    # Torch and NumPy raise any of these for values that are none of theirs.
    except (DataError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{newest} is no state of this run: {error}", "the state as training wrote it", AGAIN
        ) from error
    return scalars.step


def _check_config(found: Mapping[str, Any], config: Mapping[str, Any], state: Path) -> None:
    if found != dict(config):
        keys = sorted(k for k in found.keys() | config.keys() if found.get(k) != config.get(k))
        found_values = ", ".join(f"{k} = {found.get(k)!r}" for k in keys)
        raise WeightsError(
            f"{state} was trained with another configuration (differs in: {found_values})",
            ", ".join(f"{k} = {config.get(k)!r}" for k in keys) + ", as asked for now",
            "choose another output folder, or delete that one to start again",
        )


def _optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the optimiser is to go on with; torch itself looks at no shape.

    Raises:
        DataError: other parameters, or other settings, than the optimiser has.
    """
    merged = []
    for own, stored in zip(optimizer.state_dict()["param_groups"], groups, strict=True):
        # A schedule moves the learning rate; what another torch added has its default.
        for key, value in parse_json(canonical_json(own)).items():
            if key != "lr" and stored.get(key, value) != value:
                raise DataError(f"an optimiser's {key} = {stored[key]!r}", f"{value!r}", AGAIN)
        merged.append({**own, "lr": float(stored["lr"])})
    shapes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _below(tensors, "optimizer.").items():
        index, _, name = key.partition(".")
        if value.ndim and value.shape != shapes[int(index)]:
            raise DataError(f"{key} {list(value.shape)}", f"{list(shapes[int(index)])}", AGAIN)
        slots.setdefault(int(index), {})[name] = value
    if len({frozenset(slot) for slot in slots.values()}) > 1 or slots.keys() - range(len(shapes)):
        raise DataError("slots of some parameters alone", "the same slots of every one", AGAIN)
    return {"state": slots, "param_groups": merged}


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
