"""Provenance of artefacts: every folder's ``manifest.json`` names kind, parents and file hashes.

What safe writing needs (:mod:`robot_wm.core.storage.atomic_io`) can be imported from here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from robot_wm.core.config import Sha256
from robot_wm.core.errors import DataError
from robot_wm.core.storage.atomic_io import (
    MANIFEST,
    atomic_folder,
    atomic_write,
    check_name,
    claim,
    sha256_file,
    storage_root,
)
from robot_wm.core.storage.json_io import (
    append_line,
    canonical_json,
    parse_json,
    read_json,
    read_lines,
    sha256_of,
    write_json,
    write_lines,
)
from robot_wm.core.storage.locks import lock, queue
from robot_wm.core.storage.records import read_record
from robot_wm.core.system.machine import git_commit, hardware, provenance, usable_cores

__all__ = [
    "MANIFEST", "Manifest", "append_line", "atomic_folder", "atomic_write", "canonical_json",
    "check_name", "check_parent", "claim", "git_commit", "hardware", "lock", "provenance", "queue",
    "read_json", "read_lines", "read_manifest", "sha256_file", "sha256_of", "storage_root",
    "usable_cores", "write_json", "write_lines", "write_manifest",
]  # fmt: skip
_verified: set[tuple[str, int, int, int, str]] = set()


@dataclass(frozen=True)
class Manifest:
    """Layout of ``manifest.json``.

    Attributes:
        kind: e.g. ``dataset``, ``encoder``, ``latents``, ``world_model``.
        parents: sha256 of each parent artefact, by role.
        files: sha256 of every other file of the folder, by relative path.
        facts: configuration and measured numbers.
        provenance: who made it, where, when.
        sha256: of kind, parents and files: the artefact's identity.
    """

    kind: str
    parents: dict[str, str]
    files: dict[str, Sha256]
    facts: dict[str, Any]
    provenance: dict[str, str]
    sha256: Sha256


def write_manifest(
    folder: Path, kind: str, parents: Mapping[str, str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``manifest.json`` over all files now in ``folder`` and return it.

    Args:
        folder: usually the temporary folder of :func:`.atomic_io.atomic_folder`.
        kind: e.g. ``dataset``, ``encoder``, ``latents``, ``world_model``.
        parents: sha256 of each parent artefact, by role.
        facts: anything else a reader should know (config, measured numbers).
    """
    files = {name: sha256_file(folder / name) for name in _listed(folder)}
    manifest = {
        "kind": kind,
        "parents": dict(parents),
        "files": files,
        "facts": dict(facts),
        "provenance": provenance(),
        "sha256": sha256_of({"kind": kind, "parents": dict(parents), "files": files}),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _listed(folder: Path) -> list[str]:
    """Files of an artefact, hidden ones (locks, what systems scatter) and the manifest left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(
        path.as_posix()
        for path in found
        if path.as_posix() != MANIFEST and not any(part.startswith(".") for part in path.parts)
    )


def read_manifest(folder: Path, kind: str, verify: bool = True) -> dict[str, Any]:
    """Read a manifest and, unless ``verify`` is off, check every file's hash and that all are told.

    A file that this process has verified before, and that has not changed since by size and time,
    is not hashed again.

    Raises:
        DataError: no manifest, another kind, an edited one, a missing, altered or unlisted file.
    """
    found = read_record(folder / MANIFEST, Manifest)
    if found.kind != kind:
        raise DataError(f"{folder} holds a {found.kind!r}", f"a {kind!r}", "check the path given")
    core = {"kind": found.kind, "parents": found.parents, "files": found.files}
    if found.sha256 != sha256_of(core):
        raise DataError(f"{folder / MANIFEST} was edited", "it as written", "rebuild the artefact")
    if verify:
        _verify(folder, found.files)
    return {name: getattr(found, name) for name in Manifest.__dataclass_fields__}


def _verify(folder: Path, files: Mapping[str, str]) -> None:
    for name, digest in files.items():
        path, pure = folder / name, PurePosixPath(name)
        inside = not pure.is_absolute() and ".." not in pure.parts and "\\" not in name
        linked = any(p.is_symlink() for p in (path, *path.parents[: len(pure.parts) - 1]))
        if not inside or linked or not path.is_file() or not _is_whole(path, digest):
            raise DataError(
                f"{path} is missing or altered", f"a file of sha256 {digest[:12]}…",
                "rebuild this artefact or copy it again",
            )  # fmt: skip
    if unlisted := sorted(set(_listed(folder)) - set(files)):
        raise DataError(
            f"{folder} holds {', '.join(unlisted[:3])}, of which its manifest says nothing",
            "the files it lists", "move them away, rebuild this artefact or copy it again",
        )  # fmt: skip


def _is_whole(path: Path, digest: str) -> bool:
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino, digest)
    if key not in _verified and sha256_file(path) == digest:
        _verified.add(key)
    return key in _verified


def check_same(
    place: Path,
    stored: Mapping[str, Any],
    wanted: Mapping[str, Any],
    way_out: str,
    config: type | None = None,
) -> None:
    """Refuse an artefact that was made with another configuration than the one asked for.

    An older artefact has the defaults of what came later, and does without what is gone.

    Args:
        config: dataclass of the configuration, which knows those defaults; keys that neither it nor
            the artefact knows are not compared.

    Raises:
        DataError: some values differ; both are told.
    """
    ours: dict[str, Any] = parse_json(canonical_json(dict(wanted)))
    made = {**(_defaults(config) if config else {}), **stored}
    differ = [k for k in sorted(made.keys() & ours.keys()) if made[k] != ours[k]]
    if differ:
        made_values = "; ".join(f"{k} = {canonical_json(made[k])}" for k in differ)
        raise DataError(
            f"{place} was made with {made_values}",
            "; ".join(f"{k} = {canonical_json(ours[k])}" for k in differ) + ", as asked for now",
            f"ask for what is stored, give this run another `name=`, or {way_out}",
        )


def _defaults(config: type) -> dict[str, Any]:
    """Of the fields that have one, as files hold them."""
    found = {}
    for item in fields(config):
        value = item.default if item.default_factory is MISSING else item.default_factory()
        if value is not MISSING:
            found[item.name] = asdict(value) if is_dataclass(value) else value  # type: ignore[arg-type]
    plain: dict[str, Any] = parse_json(canonical_json(found))
    return plain


def check_parent(manifest: Mapping[str, Any], role: str, digest: str) -> None:
    """Refuse an artefact built for another parent.

    Raises:
        DataError: the parent's hash differs.
    """
    built_for = manifest["parents"].get(role)
    if built_for != digest:
        raise DataError(
            f"this {manifest['kind']} was built for {role} {str(built_for)[:12]}…",
            f"{role} {digest[:12]}…",
            f"rebuild the {manifest['kind']} with the {role} you are using",
        )
