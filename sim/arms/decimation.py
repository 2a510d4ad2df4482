"""Visual meshes with few faces, made once per machine.

Software OpenGL pays for vertices: the arm's 390,000 take many times as long as the few per cent
that are left here. Only what is seen changes: collisions keep their meshes, and bodies
whose mass follows from a mesh keep the mass that it gave them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robot_wm.core.errors import DataError
from robot_wm.core.storage.provenance import (
    atomic_folder,
    read_manifest,
    sha256_file,
    sha256_of,
    storage_root,
    write_manifest,
)
from sim.arms.ur5e import drop_unseen, packaged, scene

FACES = 300  # wanted of a mesh; those of many loose parts keep some thousands
PLACES = 4  # decimals [m] to which vertices at one place agree
HASTE = 4.0  # of the collapse: the library's default of 7 moves outlines by centimetres
KIND, FILE = "light_meshes", "meshes.npz"
INERTIA = ("mass", "ipos", "iquat", "inertia")
VISUAL = 2  # geom group


def lighten(spec: mujoco.MjSpec) -> None:
    """Give every visual mesh of the scene its light version, and drop the sky, which is not drawn.

    Raises:
        ConfigError: a package that makes the scene is not installed.
        StorageError: the light meshes cannot be stored.
    """
    stored = light_meshes()
    for geom in spec.geoms:
        if _is_visual(geom):
            name, heavy = f"{geom.meshname}/light", geom.meshname
            if spec.mesh(name) is None:
                points, faces = stored[f"points/{heavy}"], stored[f"faces/{heavy}"]
                mesh = spec.add_mesh(name=name, uservert=points.ravel(), userface=faces.ravel())
                mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
            geom.meshname = name
    for body in spec.bodies:
        if f"mass/{body.name}" in stored:
            body.explicitinertial = True
            for field in INERTIA:
                setattr(body, field, stored[f"{field}/{body.name}"])
    drop_unseen(spec)
    spec.delete(spec.texture("skybox"))


def light_meshes() -> dict[str, np.ndarray]:
    """Points [m] and faces by mesh, inertia by body: stored below the storage root, verified.

    What the storage holds was made from the very files that are installed, by this code's version
    of the recipe; anything else is made again.

    Raises:
        StorageError: the folder is not ours, not writable, or the disk is full.
    """
    return _read(storage_root() / "meshes" / f"ur5e-{_recipe()[:16]}")


def _read(folder: Path) -> dict[str, np.ndarray]:
    try:
        manifest = read_manifest(folder, KIND)
    except DataError:
        _make(folder)
        manifest = read_manifest(folder, KIND)
    return _load(folder / FILE, manifest["files"][FILE])


@cache
def _load(path: Path, sha256: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


@cache
def _recipe() -> str:
    """Hash of everything that decides what the light meshes are."""
    root = packaged("")
    parts = "universal_robots_ur5e", "robotiq_2f85"
    paths = [path for part in parts for path in root.glob(f"{part}/**/*") if path.is_file()]
    files = {path.relative_to(root).as_posix(): sha256_file(path) for path in paths}
    tool = version("fast-simplification")
    return sha256_of(
        {"files": files, "settings": [FACES, PLACES, HASTE], "fast-simplification": tool}
    )


def _make(folder: Path) -> None:
    spec = scene()
    model, arrays = spec.compile(), dict[str, np.ndarray]()
    for geom in filter(_is_visual, spec.geoms):
        points, faces = decimated(*_original(model, geom.meshname))
        arrays[f"points/{geom.meshname}"], arrays[f"faces/{geom.meshname}"] = points, faces
    for body in spec.bodies[1:]:
        if not body.explicitinertial and any(map(_is_visual, body.geoms)):
            arrays |= {
                f"{f}/{body.name}": np.squeeze(getattr(model.body(body.name), f)) for f in INERTIA
            }
    with atomic_folder(folder, replaces=KIND) as work:
        np.savez(work / FILE, **arrays)  # type: ignore[arg-type]
        write_manifest(work, KIND, {"recipe": _recipe()}, {"faces": FACES})


def _is_visual(geom: Any) -> bool:
    return bool(geom.meshname) and geom.group == VISUAL


def _original(model: mujoco.MjModel, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Points ``[V, 3]`` [m] and faces ``[F, 3]`` of a compiled mesh, in its file's own frame."""
    mesh, turn = model.mesh(name), np.empty(9)
    mujoco.mju_quat2Mat(turn, model.mesh_quat[mesh.id])
    rows = slice(mesh.vertadr[0], mesh.vertadr[0] + mesh.vertnum[0])
    sides = slice(mesh.faceadr[0], mesh.faceadr[0] + mesh.facenum[0])
    points = (
        model.mesh_vert[rows].astype(np.float64) @ turn.reshape(3, 3).T + model.mesh_pos[mesh.id]
    )
    return points, model.mesh_face[sides]


def decimated(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mesh with few faces (quadric edge collapse, Garland & Heckbert 1997).

    Vertices at one place become one first: files repeat them where normals or textures differ, and
    nothing can be collapsed across such a seam.

    Args:
        points: ``[V, 3]`` [m].
        faces: ``[F, 3]``, rows of ``points``.
    """
    places, row = np.unique(np.round(points, PLACES), axis=0, return_inverse=True)
    merged = row.reshape(-1)[faces]
    a, b, c = merged.T
    merged = merged[(a != b) & (b != c) & (c != a)]
    if len(merged) <= FACES:
        return places, merged.astype(np.int32)
    simplify = import_module("fast_simplification").simplify
    fewer, sides = simplify(places, merged.astype(np.int32), target_count=FACES, agg=HASTE)
    return np.asarray(fewer, np.float64), np.asarray(sides, np.int32)
