"""Latents of a teacher's lessons: every picture is encoded once, and only its latent is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import MANIFEST, atomic_folder, sha256_of, write_manifest
from robot_wm.core.symmetry import Mirror
from robot_wm.core.system.progress import progress
from robot_wm.data.lessons import LessonStore
from robot_wm.world_models.jepa.model import JEPAWorldModel

Pictures = Callable[[np.ndarray], Iterable[np.ndarray]]
"""From physics states ``[N, S]`` to one image ``[size, size, 3]`` each."""
BATCH, KIND = 128, "taught"


def latent_key(model: JEPAWorldModel) -> str:
    """Identity of what turns a picture into a latent: encoder and projector, nothing behind."""
    parts = ("reduce", "projector", "embedding", "whiten")
    state = {
        name: [float(value.double().sum()), float(value.double().abs().sum())]
        for name, value in model.network.state_dict().items()
        if name.split(".")[0] in parts
    }
    return sha256_of([model.encoder.sha256, state])


def build_taught(
    store: LessonStore,
    model: JEPAWorldModel,
    pictures: Pictures,
    mirror: Mirror | None,
    root: Path,
) -> list[Path]:
    """Latents of every shard, built where they are missing: ``latents.npy [V, R + L, Z]``.

    ``V`` views (the mirror's is the second), the lessons' rows, then their goals.
    """
    key, folders = latent_key(model), []
    with progress("latents of lessons", len(store.shards)) as report:
        for done, shard in enumerate(store.shards, start=1):
            name = sha256_of([key, store.sha256(shard), mirror is not None])[:16]
            folder = Path(root) / f"taught-{name}"
            folders.append(folder)
            if not (folder / MANIFEST).is_file():
                columns = store.columns(shard)
                states = np.concatenate([columns["states"], columns["goals"]])
                latents = _encode(model, pictures(states), len(states), mirror)
                # Another run may have made the same ones meanwhile.
                with atomic_folder(folder, replaces=KIND) as work:
                    np.save(work / "latents.npy", latents)
                    parents = {"lessons": store.sha256(shard), "encoder": model.encoder.sha256}
                    write_manifest(work, KIND, parents, {"latent": key})
            report(done)
    return folders


@torch.inference_mode()
def _encode(
    model: JEPAWorldModel, images: Iterable[np.ndarray], count: int, mirror: Mirror | None
) -> np.ndarray:
    views, size = 1 if mirror is None else 2, model.network.sizes.latent
    out, first = np.empty((views, count, size), np.float32), 0
    batch: list[np.ndarray] = []

    def flush() -> None:
        nonlocal first
        plain = np.stack(batch)
        seen = [plain] if mirror is None else [plain, mirror.images(plain)]
        for view, frames in enumerate(seen):
            # Half precision costs a latent a hundredth of what a block changes in it.
            with torch.autocast("cpu", torch.bfloat16):
                tokens = model.encoder.encode_frames(frames)
            latents = model.network.embed(tokens.float())
            out[view, first : first + len(frames)] = latents.numpy()
        first += len(plain)
        batch.clear()

    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            flush()
    if batch:
        flush()
    if first != count:
        raise DataError(f"{first} pictures of {count} states", "one of each", "build them again")
    return out
