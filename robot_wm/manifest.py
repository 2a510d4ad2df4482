"""Provenance and safe writing: hashes, atomic files and folders, manifests, the storage root.

Every artefact folder holds a ``manifest.json`` naming its kind, its parents by hash and the
sha256 of its files. Everything is written beside its place and moved there in one step, so a
crash or a full disk leaves either the old thing or the new thing, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robot_wm.errors import DataError, StorageError

MANIFEST = "manifest.json"


def storage_root() -> Path:
    """``$ROBOT_WM_HOME``, or ``~/.robot_wm``: data, caches and runs live below it."""
    return Path(os.environ.get("ROBOT_WM_HOME", "~/.robot_wm")).expanduser().resolve()


def canonical_json(value: Any) -> str:
    """The same text for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hash of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise StorageError(
                f"cannot write {target}: {error.strerror}",
                "a writable disk with free space",
                "free space or set ROBOT_WM_HOME to another disk; nothing half-written was left",
            ) from error
        raise


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends without an error.

    An existing ``target`` is replaced. On any error the temporary folder is removed.

    Raises:
        StorageError: the disk is full or not writable.
    """
    with _disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with _disk_errors(target):
            yield work
            for path in work.rglob("*"):
                if path.is_file():
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
            work.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def atomic_write(target: Path, content: bytes | str) -> None:
    """Write a file in one step.

    Raises:
        StorageError: the disk is full or not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    with _disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_json(target: Path, value: Any) -> None:
    """Write readable JSON in one step."""
    atomic_write(target, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        DataError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read {path}: {error}", "a JSON file", "re-run the stage that makes it"
        ) from error


def write_manifest(
    folder: Path, kind: str, parents: Mapping[str, str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``manifest.json`` over all files now in ``folder`` and return it.

    Args:
        folder: usually the temporary folder of :func:`atomic_folder`.
        kind: e.g. ``dataset``, ``encoder``, ``latents``, ``world_model``.
        parents: sha256 of each parent artefact, by role.
        facts: anything else a reader should know (config, measured numbers).
    """
    files = {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
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


def read_manifest(folder: Path, kind: str, verify: bool = True) -> dict[str, Any]:
    """Read a manifest and, unless ``verify`` is off, check every file's hash.

    Raises:
        DataError: no manifest, another kind, a missing or altered file.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest.get("kind") != kind:
        raise DataError(
            f"{folder} holds a {manifest.get('kind')!r}", f"a {kind!r}", "check the path you gave"
        )
    for name, digest in manifest["files"].items() if verify else ():
        path = folder / name
        if not path.is_file() or sha256_file(path) != digest:
            raise DataError(
                f"{path} is missing or altered", f"sha256 {digest[:12]}…", "rebuild this artefact"
            )
    return manifest


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


def git_commit() -> str:
    """Commit of the source tree, with ``+dirty`` when files differ; ``unknown`` outside git."""
    here = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip() + ("+dirty" if dirty.stdout.strip() else "")


def hardware() -> str:
    """Processor name and number of usable cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def provenance() -> dict[str, str]:
    """Commit, hardware, Python and date: who made this, where, when."""
    return {
        "commit": git_commit(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "os": platform.system(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
