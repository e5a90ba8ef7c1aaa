"""How much memory a process may still take: the machine's, and its container's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["room"]

_PROC = Path("/proc")
_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
_UNLIMITED = 1 << 60


def room(v2: Path = _V2, v1: Path = _V1, proc: Path = _PROC) -> int:
    """Return the bytes that can be taken before the kernel kills someone; huge where unknown.

    Args:
        v2: root of the container's cgroup v2.
        v1: root of its cgroup v1 memory controller.
        proc: the proc file system.
    """
    free = [
        _machine(proc / "meminfo"),
        _container(v2, "memory.max", "memory.current", "inactive_file"),
        _container(v1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ]
    return min((number for number in free if number is not None), default=_UNLIMITED)


def _machine(meminfo: Path) -> int | None:
    found = _fields(meminfo).get("MemAvailable:")
    return None if found is None else found * 1024


def _container(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    """Page cache that nobody uses is given back before anybody is killed."""
    most, now = _number(folder / limit), _number(folder / used)
    if most is None or now is None or most >= _UNLIMITED:
        return None
    cache = _fields(folder / "memory.stat").get(reclaimable, 0)
    return max(most - now + cache, 0)


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None


def _fields(path: Path) -> dict[str, int]:
    """Read lines of a name, a number and perhaps a unit."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for line in path.read_text(encoding="ascii").splitlines():
            name, number, *_ = [*line.split(), "", ""]
            if number.isdecimal():
                found[name] = int(number)
    return found
