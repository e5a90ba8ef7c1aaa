"""Copy tensors into the arena: at once, or while the next step computes.

What only an optimizer's step changes can be copied later, as long as that step waits for it
(:meth:`Copy.barrier`). All else is copied before training goes on: buffers that a forward pass
updates, gradients, generators, what the user keeps. What a program changes in spite of that (it
writes to ``parameter.data`` between two steps) is noticed by the version of the tensor or by a few
witnesses of its bytes, and that snapshot is thrown away.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["LATER_BYTES", "Copy", "Part"]

LATER_BYTES = 256 << 10
"""Smaller tensors are copied at once: it takes less than to think about them."""

_WITNESSES = 4
_SLICE = 4 << 20  # bytes that one thread copies at a time
_THREADS = 4
"""Threads of a copy that training waits for: one core does not fill the bus to memory."""


@dataclass(frozen=True)
class Part:
    """One tensor and its place in the arena.

    Attributes:
        source: the live tensor.
        target: contiguous, over the arena, of the same dtype and shape.
        later: it may be copied until the next optimizer step.
    """

    source: torch.Tensor
    target: torch.Tensor
    later: bool = False


class Copy:
    """One snapshot's copy. Making it copies what cannot wait; :meth:`finish` does the rest.

    Args:
        parts: what is to be copied.
        known: what the arena should hold already: it is compared, not copied.
    """

    def __init__(self, parts: Sequence[Part], known: Sequence[Part] = ()) -> None:
        self._done = threading.Event()
        self._known = known
        self._later = [part for part in parts if part.later]
        self._seen = [_Seen(part.source) for part in self._later]
        self._events: list[Any] = []
        _copy([part for part in parts if not part.later and not part.source.is_cuda])
        for device in {part.source.device for part in parts if part.source.is_cuda}:
            self._copy_from_gpu([part for part in parts if part.source.device == device])

    def finish(self) -> bool:
        """Copy what could wait, on the calling thread; tell whether the snapshot is whole."""
        try:
            for part in self._later:
                if not part.source.is_cuda:
                    _move(part)
        finally:
            self._done.set()
        for event in self._events:
            event.synchronize()
        pairs = zip(self._later, self._seen, strict=True)
        whole = all(seen.still(part.source, part.target) for part, seen in pairs)
        return whole and all(_same(part) for part in self._known)

    def barrier(self) -> None:
        """Wait until the tensors may be changed; on a GPU the device waits, not this thread."""
        if self._events:
            import torch

            for event in self._events:
                torch.cuda.current_stream(event.device).wait_event(event)
        self._done.wait()

    def _copy_from_gpu(self, parts: Sequence[Part]) -> None:
        """Copy to pinned memory on a side stream; wait here for what is not to be copied later."""
        import torch

        device = parts[0].source.device
        stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream), torch.no_grad():
            for later in (False, True):
                for part in parts:
                    if part.later is later:
                        source = part.source.contiguous()
                        part.target.copy_(source, non_blocking=True)
                        source.record_stream(stream)
                event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
                event.record(stream)
                if later:
                    self._events.append(event)
                else:
                    event.synchronize()


class _Seen:
    """What a tensor looked like when its snapshot was taken."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._version = tensor._version
        self._address = tensor.data_ptr()
        self._words = _words(tensor)

    def still(self, live: torch.Tensor, copied: torch.Tensor) -> bool:
        """Tell whether the copy shows the tensor as it was then."""
        same = live._version == self._version and live.data_ptr() == self._address
        return same and (self._words == () or _words(copied) == self._words)


def _words(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return a few words of a large tensor; none of one on a GPU, which would have to wait."""
    if tensor.is_cuda:
        return ()
    size, base = tensor.numel() * tensor.element_size() - 8, tensor.data_ptr()
    offsets = (size * i // (_WITNESSES - 1) // 8 * 8 for i in range(_WITNESSES))
    return tuple(ctypes.c_uint64.from_address(base + offset).value for offset in offsets)


def _copy(parts: Sequence[Part]) -> None:
    """Copy while training waits: large tensors with all cores, the others in one call."""
    import torch

    large = [p for p in parts if _size(p.source) >= LATER_BYTES and p.source.is_contiguous()]
    taken = set(map(id, large))
    small = [p for p in parts if id(p) not in taken and p.source.numel()]
    slices = iter(
        [
            (p.target.data_ptr() + start, p.source.data_ptr() + start, min(_SLICE, size - start))
            for p in large
            for size in (_size(p.source),)
            for start in range(0, size, _SLICE)
        ]
    )
    others = [threading.Thread(target=_move_all, args=(slices,)) for _ in range(_helpers())]
    for thread in others if large else ():
        thread.start()
    if small:
        with torch.no_grad():
            torch._foreach_copy_([p.target for p in small], [p.source for p in small])
    _move_all(slices)
    for thread in others if large else ():
        thread.join()


def _helpers() -> int:
    """Return how many threads beside this one may copy: the cores are shared by the ranks."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return max(min(cores, _THREADS) - 1, 0)


def _move_all(slices: Iterator[tuple[int, int, int]]) -> None:
    """Copy slices until none is left; a list's iterator gives each one to one thread."""
    for target, source, size in slices:
        ctypes.memmove(target, source, size)


def _move(part: Part) -> None:
    """Copy without the interpreter's lock; contiguous tensors only."""
    ctypes.memmove(part.target.data_ptr(), part.source.data_ptr(), _size(part.source))


def _same(part: Part) -> bool:
    """Compare byte by byte, which is faster than any checksum of the standard library."""
    if part.source.is_cuda:
        return bool((part.source == part.target.to(part.source.device)).all())
    difference: int = _compare(part.target.data_ptr(), part.source.data_ptr(), _size(part.source))
    return difference == 0


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


_compare: Any = ctypes.CDLL(None).memcmp
_compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
