"""Processes: who dies with whom, who reaps, and how nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["become_reaper", "descendants", "die_with_parent", "kill_descendants", "reap"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def become_reaper() -> None:
    """Adopt the orphans below this process, as pid 1 does anyway."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; leave if that has happened."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def reap() -> dict[int, int]:
    """Reap every child that has ended: pid to exit code, negative for a signal."""
    ended: dict[int, int] = {}
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def descendants(root: int) -> list[int]:
    """Return the processes below ``root``; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    if not _PROC.is_dir():
        return []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (parent := _parent_of(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    level = [root]
    while level:
        level = [child for pid in level for child in children.get(pid, [])]
        found += level
    return found


def kill_descendants(patience: float = 5.0) -> None:
    """Kill what is below this process until nothing is left, or ``patience`` seconds passed."""
    end = time.monotonic() + patience
    while (pids := descendants(os.getpid())) and time.monotonic() < end:
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap()
        time.sleep(0.005)


def _parent_of(entry: Path) -> int | None:
    try:
        stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        error = os.strerror(ctypes.get_errno())
        print(f"gpukit: prctl({option}) failed: {error}", file=sys.stderr)
