"""One at a time: locks between processes, and what a full or forbidden disk raises."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from robot_wm.core.errors import StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCKS = fcntl is not None
DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY,
)  # fmt: skip


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn what a full or forbidden disk raises into a :class:`StorageError`.

    NumPy reports a full disk as an OSError without a number, safetensors as an error of its own.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, OSError) and (error.errno is None or error.errno in DISK)
        if known or type(error).__name__ == "SafetensorError":
            raise StorageError(
                f"cannot write {target}: {getattr(error, 'strerror', None) or error}",
                "a writable disk with free space",
                "free space or set ROBOT_WM_HOME to another disk; nothing half-written was left",
            ) from error
        raise


def try_lock(handle: int) -> bool:
    """Lock an open file or folder if nobody else has; True where locks do not exist."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


@contextlib.contextmanager
def lock(target: Path, work: str) -> Iterator[None]:
    """Let one process at a time do ``work`` on ``target``; the lock ends with the process.

    Raises:
        StorageError: another process is at it.
    """
    path = target.parent / f".{target.name}.lock"
    with disk_errors(target):
        path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with disk_errors(target):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not try_lock(handle):
            os.close(handle)
            raise StorageError(
                f"another process is {work} {target}", "one at a time",
                "wait until it has finished, stop it, or choose another name",
            )  # fmt: skip
        # Whoever held it before may have removed the file between the two lines above.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is ours
        os.close(handle)


@contextlib.contextmanager
def queue(target: Path, patience: float = 60.0) -> Iterator[None]:
    """As :func:`lock`, for short work: wait until the others are done.

    Args:
        patience: longest wait [s].

    Raises:
        StorageError: nobody let go in that time.
    """
    end = time.monotonic() + patience
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock(target, "writing"))
            except StorageError:
                if time.monotonic() > end:
                    raise
            else:
                yield
                return
        time.sleep(0.02)
