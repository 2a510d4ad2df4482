"""Files that are whole or absent: atomic writes, locks, sweeping after killed runs, one guard.

Everything is written beside its place under a name that ends in ``PARTIAL``, then moved there in
one step: a kill, a crash or a full disk leaves the old thing or the new thing. The writer holds a
lock on what is partial, so whoever comes next can tell a killed run's leftovers, which it removes,
from the work of a process that is still alive.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from robot_wm.core.errors import ConfigError, StorageError
from robot_wm.core.storage.locks import LOCKS, disk_errors, try_lock

PARTIAL, REPLACED = ".robot-wm-partial", ".robot-wm-replaced"
MANIFEST = "manifest.json"
DAY = 86_400.0  # where nothing can be locked, leftovers older than this are nobody's [s]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_swept: set[Path] = set()


def storage_root() -> Path:
    """``$ROBOT_WM_HOME``, or ``~/.robot_wm``: data, caches and runs live below it."""
    return Path(os.environ.get("ROBOT_WM_HOME") or "~/.robot_wm").expanduser().resolve()


def check_storage() -> None:
    """Make the storage's folder if it is missing.

    Raises:
        StorageError: nothing can be written into it.
    """
    root = storage_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise StorageError(
            f"{root}: {error.strerror or error}", "a folder to write data and runs into",
            "set ROBOT_WM_HOME to one",
        ) from error  # fmt: skip


def check_name(name: str, where: str) -> str:
    """Refuse a name that would leave its folder or that a file system cannot hold.

    Raises:
        ConfigError: not letters, digits and ``. _ + -``, beginning with a letter or a digit.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{where} = {name!r}",
            "1 to 100 letters, digits and . _ + -, the first a letter or a digit",
            f"choose another {where}; places on disk are set by ROBOT_WM_HOME",
        )
    return name


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sweep(parent: Path) -> None:
    """Remove what killed runs left in a folder, and finish a replacement they had begun."""
    for path in parent.glob(f".*{REPLACED}"):
        target = parent / path.name[1 : -len(REPLACED)]
        with contextlib.suppress(OSError):
            if target.exists():
                shutil.rmtree(path)
            else:
                os.rename(path, target)
    for path in parent.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            if not LOCKS and time.time() - path.stat().st_mtime < DAY:
                continue
            handle = os.open(path, os.O_RDONLY)
            try:
                if try_lock(handle):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(handle)


def _sweep_once(parent: Path) -> None:
    parent.mkdir(parents=True, exist_ok=True)
    if parent not in _swept:
        _swept.add(parent)
        sweep(parent)


def claim(folder: Path, kind: str) -> None:
    """The one guard before a folder is filled or replaced: what stands there must be ours.

    Args:
        folder: may be missing or empty.
        kind: of the artefact that may be replaced; empty allows no replacement.

    Raises:
        StorageError: a file, or a folder that holds anything else.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise StorageError(f"{folder} is a file or a link", "a folder", "name another place")
    if not folder.exists() or not any(folder.iterdir()):
        return
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = found.get("files") if isinstance(found, dict) else None
        if kind and isinstance(listed, dict) and found.get("kind") == kind:
            whole = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
            strangers = sorted(whole - {MANIFEST} - set(listed))
            if not strangers:
                return
            raise StorageError(
                f"{folder} holds a {kind} and also {', '.join(strangers[:3])}",
                "an empty folder, or one that nobody put anything into",
                "move those files away or name another folder; nothing was touched",
            )
    raise StorageError(
        f"{folder} holds something else ({', '.join(sorted(os.listdir(folder))[:3])}, …)",
        f"an empty folder{f' or a {kind} made by this program' if kind else ''}",
        "name another folder; nothing was touched",
    )


@contextlib.contextmanager
def atomic_folder(target: Path, replaces: str = "") -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends without an error.

    Args:
        target: missing or empty, unless ``replaces`` is given.
        replaces: kind of the artefact (its manifest's) that may stand there; it is exchanged in
            one step and then removed.

    Raises:
        StorageError: the disk is full or not writable, or ``target`` holds something else.
    """
    target = Path(target)
    claim(target, replaces)
    with disk_errors(target):
        _sweep_once(target.parent)
        work, handle = _partial_folder(target)
    try:
        with disk_errors(target):
            yield work
            for path in [*work.rglob("*"), work]:
                # safetensors, for one, writes files that nobody else may read.
                path.chmod(0o755 if path.is_dir() else 0o644)
                _sync(path)
            for again in (True, True, False):
                claim(target, replaces)  # somebody may have come meanwhile
                try:
                    _put(work, target)
                    break
                except OSError as error:  # or between the two lines
                    if not again or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
            _sync(target.parent)
    finally:
        os.close(handle)
        shutil.rmtree(work, ignore_errors=True)  # after an exchange it holds what was replaced


def _partial_folder(target: Path) -> tuple[Path, int]:
    """A folder of our own and the handle that holds its lock."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PARTIAL, dir=target.parent))
        if os.name == "nt":
            return work, os.open(os.devnull, os.O_RDONLY)
        # A sweeper may come before the folder is opened, or before it is locked.
        try:
            handle = os.open(work, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if try_lock(handle) and work.exists():
            return work, handle
        os.close(handle)


def _put(work: Path, target: Path) -> None:
    """Move ``work`` to ``target``, exchanging the two where there is something."""
    if target.exists() and any(target.iterdir()):
        if _exchange(work, target):
            return
        aside = target.parent / f".{target.name}{REPLACED}"
        os.rename(target, aside)  # from here to the next line, `sweep` would bring it back
        os.rename(work, target)
        shutil.rmtree(aside)
        return
    if target.exists():
        target.rmdir()
    os.rename(work, target)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            done = libc.renamex_np(os.fsencode(a), os.fsencode(b), 2)
        else:
            done = libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2)
    except (OSError, AttributeError, TypeError):
        return False
    return bool(done == 0)


def _sync(path: Path) -> None:
    """Have a file or folder reach the disk; systems that cannot sync folders are forgiven."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno == errno.EINVAL):
            raise
    finally:
        os.close(handle)


def atomic_write(target: Path, content: bytes | str) -> None:
    """Write a file in one step; text is UTF-8.

    Raises:
        StorageError: the disk is full or not writable, or ``target`` is a folder.
    """
    data = content.encode() if isinstance(content, str) else content
    with disk_errors(target):
        _sweep_once(target.parent)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=PARTIAL, dir=target.parent
        )
        try:
            with os.fdopen(handle, "wb") as stream:
                try_lock(stream.fileno())
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                os.chmod(name, 0o644)
                if os.name != "nt":  # which cannot move an open file
                    os.replace(name, target)
            if os.name == "nt":
                os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
