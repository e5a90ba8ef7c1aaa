"""The arena: shared memory that holds a snapshot, laid out as the file that it becomes.

A page of fresh memory costs ten times the copy into it: the kernel finds and clears it at the
first touch. So every page is touched beforehand, by a thread of its own while the first steps
compute, also after a restart; a save that comes earlier is put off by a step or two. The memory is
anonymous and new (memfd), so nothing that another process left can be in it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpukit.errors import CheckpointError

from .memory import room
from .pages import DONTFORK, POPULATE_WRITE, advise
from .tensorfile import PAGE

if TYPE_CHECKING:
    import torch

__all__ = ["Arena", "NoRoomError"]

_STRIDE = 16 << 20
_MARGIN = 256 << 20  # left for the trainer when the arena is made
_SLACK = 1.04  # so much more than the state an arena may be before it is cut
_NICE = 5


class NoRoomError(CheckpointError):
    """There is no memory for an arena."""


class Arena:
    """Shared memory of one trainer; grown, cut and touched in the background."""

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise NoRoomError(
                "no-shared-memory", "this system has no memfd", "nothing: checkpoints are streamed"
            )
        self.handle = os.memfd_create("gpukit-arena", os.MFD_CLOEXEC)
        self.size = 0
        self._map: mmap.mmap | None = None
        self._bytes: torch.Tensor | None = None
        self._touched = threading.Event()
        self._touched.set()
        self._failed = False
        self._pinned: int | None = None

    @property
    def ready(self) -> bool:
        """Every page has been touched."""
        return self._touched.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until every page has been touched; tell whether they are."""
        return self._touched.wait(seconds)

    def fits(self, size: int) -> bool:
        """Tell whether the arena holds ``size`` bytes and is not much larger."""
        return size <= self.size <= max(size * _SLACK, size + _STRIDE)

    def resize(self, size: int) -> None:
        """Make room for ``size`` bytes, and begin to touch what is new.

        All tensors that :meth:`tensor` has returned are to be forgotten before.

        Raises:
            NoRoomError: the container or the machine has not so much memory.
        """
        size = -(-size // PAGE) * PAGE
        self._touched.wait()
        if size - self.size > max(room() - _MARGIN, 0):
            raise NoRoomError(
                "no-room-for-snapshots",
                f"a snapshot needs {size >> 20} MiB, "
                f"and {max(room(), 0) >> 20} MiB of memory are left",
                "raise memory= by the size of the model and its optimizer",
            )
        self._unpin()
        self._bytes = self._map = None
        os.ftruncate(self.handle, size)
        self.size = size
        self._map = mmap.mmap(self.handle, size)
        self._touched.clear()
        thread = threading.Thread(
            target=self._touch, args=(self._map,), name="gpukit-arena", daemon=True
        )
        thread.start()

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes into the arena."""
        if self._map is not None:
            self._map[offset : offset + len(data)] = data

    def tensor(self, like: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """Return a contiguous tensor of the dtype and shape of ``like`` over these bytes."""
        import torch

        if self._bytes is None:
            self._bytes = torch.frombuffer(self._map, dtype=torch.uint8)
        if begin == end:
            return torch.empty(like.shape, dtype=like.dtype)
        return self._bytes[begin:end].view(like.dtype).view(like.shape)

    def close(self) -> None:
        """Give the memory back, as far as this process holds it."""
        self._touched.wait()
        self._unpin()
        self._bytes = self._map = None
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def check(self) -> None:
        """Raise what went wrong while the pages were touched.

        Raises:
            NoRoomError: the kernel has no memory for them.
        """
        if self._failed:
            raise NoRoomError(
                "no-room-for-snapshots", "the kernel has no memory for a snapshot",
                "raise memory= by the size of the model and its optimizer",
            )  # fmt: skip

    def _touch(self, memory: mmap.mmap) -> None:
        try:
            with suppress(OSError):  # this thread alone, on Linux
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
            base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            advise(base, len(memory), DONTFORK)  # data-loader workers need no copy of it
            for start in range(0, len(memory), _STRIDE):
                self._populate(memory, base, start, min(_STRIDE, len(memory) - start))
            self._pin(base, len(memory))
        except (OSError, MemoryError):
            self._failed = True
        finally:
            self._touched.set()

    def _populate(self, memory: mmap.mmap, base: int, start: int, length: int) -> None:
        if not advise(base + start, length, POPULATE_WRITE):
            for page in range(start, start + length, PAGE):
                memory[page] = memory[page]

    def _pin(self, base: int, length: int) -> None:
        """Let GPUs copy into it without a detour; a refusal costs speed alone."""
        runtime = _cuda_runtime()
        if runtime is not None and int(runtime.cudaHostRegister(base, length, 0)) == 0:
            self._pinned = base

    def _unpin(self) -> None:
        runtime = _cuda_runtime()
        if self._pinned is not None and runtime is not None:
            runtime.cudaHostUnregister(self._pinned)
        self._pinned = None


def _cuda_runtime() -> Any:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda.cudart()
