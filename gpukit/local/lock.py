"""One backend per run: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

__all__ = ["holder", "release", "take"]

_PATIENCE = 30.0  # seconds; whoever holds it signs once the run is in its folder


def take(path: Path) -> int | None:
    """Take the lock and return its descriptor; None where a living process holds it.

    The descriptor may be inherited: the lock goes when the last copy of it is closed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            return descriptor
        if _alive(_pid(path)) or time.monotonic() > until:
            os.close(descriptor)
            return None
        time.sleep(0.01)  # the holder has just died, or is about to start the backend


def sign(descriptor: int, pid: int) -> None:
    """Write which process is to be asked to stop."""
    os.pwrite(descriptor, str(pid).encode(), 0)


def release(descriptor: int) -> None:
    """Give the lock back."""
    os.close(descriptor)


def holder(path: Path) -> int | None:
    """Return the process that has signed the lock; 0 before one has, None where it is free."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(path) or 0
    finally:
        os.close(descriptor)
    return None


def _pid(path: Path) -> int | None:
    text = path.read_text(encoding="ascii")
    return int(text) if text.isdigit() else None


def _alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
