"""Some held-out images beside a shipped model: an export compares itself on them, offline.

A folder of kind ``frames`` holds ``frames.npz`` and names its world model as parent, so that
neither exporting nor a soak has to collect thousands of episodes to see a few hundred pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.core.errors import DataError, WeightsError
from robot_wm.core.storage.provenance import (
    MANIFEST,
    atomic_folder,
    check_parent,
    read_manifest,
    write_manifest,
)

KIND, FILE = "frames", "frames.npz"
COUNT = 400


def recorded_frames(stores: Sequence[Any], count: int = COUNT) -> np.ndarray:
    """Images of validation episodes, four consecutive ones each: ``[count, S, S, 3]``.

    Raises:
        DataError: no validation episode of four frames.
    """
    parts: list[np.ndarray] = []
    for store in stores:
        for index in store.indices("validation"):
            if len(store[index].frames) < 4:
                continue
            parts.append(np.asarray(store[index].frames[:4]))
            if len(parts) * 4 >= count:
                return np.concatenate(parts)[:count]
    if not parts:
        raise DataError(
            "no validation episode of four frames", "one or more", "collect more episodes"
        )
    return np.concatenate(parts)


def save_frames(folder: Path, frames: np.ndarray, world_model: str) -> None:
    """Keep images uint8 ``[M, S, S, 3]`` of the held-out episodes of a world model, by its hash.

    Raises:
        StorageError: the folder holds something else, or the disk is full.
    """
    with atomic_folder(folder, replaces=KIND) as work:
        np.savez_compressed(work / FILE, frames=frames)
        write_manifest(work, KIND, {"world_model": world_model}, {"frames": len(frames)})


def frames_of(folder: Path) -> str:
    """Hash of the world model whose images :func:`save_frames` kept; empty where none are."""
    if not (folder / MANIFEST).is_file():
        return ""
    return str(read_manifest(folder, KIND, verify=False)["parents"].get("world_model", ""))


def load_frames(folder: Path, world_model: str) -> np.ndarray:
    """The images kept by :func:`save_frames`.

    Raises:
        WeightsError: missing, altered, or of another world model.
    """
    try:
        check_parent(read_manifest(folder, KIND), "world_model", world_model)
        with np.load(folder / FILE, allow_pickle=False) as archive:
            frames = np.asarray(archive["frames"])
        if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) < 4:
            raise DataError(f"{frames.dtype} {frames.shape}", "uint8 [M, S, S, 3]", "restore it")
    except (DataError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"cannot use the held-out images of {folder}: {error}", "the folder as it was shipped",
            "restore the installation",
        ) from error  # fmt: skip
    return frames
