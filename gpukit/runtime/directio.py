"""Write memory to a file as fast as the disk takes it, and sum it up on the way.

Direct I/O keeps a gigabyte of checkpoint out of the page cache, where it would push out the
training data, and spares the copy into it. It wants memory, offsets and lengths that are
multiples of a page: an mmap is, and the file is cut to its length at the end. Where a file system
refuses (tmpfs, some FUSE), the same writes go through the page cache.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["CHUNK", "THREADS", "write_synced"]

CHUNK = 8 << 20
"""Bytes per checksum, and per write."""

THREADS = 4
"""Writes in flight at once; more did not help on a virtio disk (`make bench`)."""

_PAGE = 4096
_DIRECT: int = getattr(os, "O_DIRECT", 0)
_REFUSED = frozenset({errno.EINVAL, errno.EOPNOTSUPP})


def write_synced(path: Path, data: memoryview, size: int, *, threads: int = THREADS) -> list[int]:
    """Write the first ``size`` bytes of ``data`` to a file, synced; return their CRC-32s.

    An existing file is overwritten in place, which spares the file system the allocation.

    Args:
        path: the file.
        data: the memory; page-aligned, and as long as ``size`` rounded up to a page, it is
            written directly.
        size: bytes of the file.
        threads: writes in flight.

    Returns:
        One CRC-32 for each :data:`CHUNK` bytes.

    Raises:
        OSError: the file system's own error; what the file holds then is undefined.
    """
    whole = -(-size // _PAGE) * _PAGE
    direct = bool(_DIRECT) and len(data) >= whole
    handle = _open(path, direct=direct)
    try:
        if os.fstat(handle).st_size < size:
            _allocate(handle, size)
        try:
            sums = _Chunks(handle, data, size, whole if direct else size).run(threads)
        except OSError as error:
            if not direct or error.errno not in _REFUSED:
                raise
            os.close(handle)  # it took the flag and refuses the writes
            handle = _open(path, direct=False)
            sums = _Chunks(handle, data, size, size).run(threads)
        os.ftruncate(handle, size)
        _sync(handle)
    finally:
        os.close(handle)
    return sums


def _sync(handle: int) -> None:
    os.fsync(handle)


def _open(path: Path, *, direct: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    if direct:
        with suppress(OSError):
            return os.open(path, flags | _DIRECT, 0o644)
    return os.open(path, flags, 0o644)


def _allocate(handle: int, size: int) -> None:
    """Ask for the space at once: no room is known before a gigabyte is written."""
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise


class _Chunks:
    """The chunks of one file, taken by whichever thread is free."""

    def __init__(self, handle: int, data: memoryview, size: int, written: int) -> None:
        self._handle = handle
        self._data = data
        self._size = size
        self._written = written
        self._lock = threading.Lock()
        self._starts: Iterator[int] = iter(range(0, written, CHUNK))
        self._sums: dict[int, int] = {}
        self._error: BaseException | None = None

    def run(self, threads: int) -> list[int]:
        """Write all chunks; return their sums in order."""
        others = [threading.Thread(target=self._work) for _ in range(threads - 1)]
        for thread in others:
            thread.start()
        self._work()
        for thread in others:
            thread.join()
        if self._error is not None:
            raise self._error
        return [self._sums[start] for start in sorted(self._sums)]

    def _work(self) -> None:
        try:
            while self._error is None and (start := self._next()) is not None:
                self._write(start)
        except BaseException as error:
            self._error = error

    def _next(self) -> int | None:
        with self._lock:
            return next(self._starts, None)

    def _write(self, start: int) -> None:
        end = min(start + CHUNK, self._written)
        self._sums[start] = zlib.crc32(self._data[start : min(end, self._size)])
        while start < end:
            start += os.pwrite(self._handle, self._data[start:end], start)
