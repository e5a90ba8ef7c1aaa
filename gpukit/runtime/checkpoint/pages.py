"""Pages of memory, before they are needed: the kernel's part of a copy costs more than the copy.

A page of fresh memory is found and cleared by the kernel at the first touch, 4 KiB at a time and
while whoever touches it waits. It can be asked for many at once, of 2 MiB where that is allowed,
and from another thread.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["DONTFORK", "POPULATE_WRITE", "advise", "prefaulted"]

HUGEPAGE = 14  # <linux/mman.h>
DONTFORK = 10
POPULATE_WRITE = 23  # since Linux 5.14
_UNKNOWN = (errno.EINVAL, errno.ENOSYS)
_PIECE = 32 << 20
_WORTH = 1 << 20  # bytes; below, a thread costs more

_library = ctypes.CDLL(None, use_errno=True)
_library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def advise(address: int, length: int, advice: int) -> bool:
    """Call madvise(2); tell whether the kernel knows this advice.

    Raises:
        OSError: it knows it, and cannot follow it.
    """
    if _library.madvise(address, length, advice) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, "madvise")


@contextmanager
def prefaulted(spans: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Have fresh memory touched on a thread of its own, ahead of the body that fills it.

    What is in the memory stays. A kernel that refuses costs speed alone.

    Args:
        spans: first byte, and the byte after the last one, of each piece.
    """
    pieces = _joined(spans)
    if sum(end - begin for begin, end in pieces) < _WORTH:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_touch, args=(pieces, over), name="gpukit-pages", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _touch(pieces: Sequence[tuple[int, int]], over: threading.Event) -> None:
    try:
        for begin, end in pieces:
            advise(begin, end - begin, HUGEPAGE)
        for begin, end in pieces:
            for start in range(begin, end, _PIECE):
                if over.is_set() or not advise(start, min(_PIECE, end - start), POPULATE_WRITE):
                    return
    except OSError:
        return


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Round to whole pages, and join what is next to each other: large tensors often are."""
    page = mmap.PAGESIZE
    found: list[tuple[int, int]] = []
    for begin, end in sorted((a // page * page, -(-b // page) * page) for a, b in spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return found
