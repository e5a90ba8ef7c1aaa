"""Bring what the trainers print to the pod's stdout, line by line."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Sequence

from . import log

__all__ = ["Relay"]

_CHUNK = 1 << 16
_PATIENCE = 0.2  # a part of a line (a prompt, a progress bar) is shown after that many seconds
_LONGEST = 1 << 20  # what prints without line breaks is passed on in parts of this size


class Relay:
    """Reads the pipes of the trainers in a thread of its own until all writers have closed them.

    Where there are several trainers, each line begins with the rank that printed it, and a part of
    a line that is shown gets a line of its own.

    Args:
        handles: the read ends, by rank; closed here when they have ended.
    """

    def __init__(self, handles: Sequence[int]) -> None:
        self._rests = dict.fromkeys(handles, b"")
        self._marks = {
            handle: f"[rank {rank}] ".encode() if len(handles) > 1 else b""
            for rank, handle in enumerate(handles)
        }
        self._selector = selectors.DefaultSelector()
        for handle in handles:
            self._selector.register(handle, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, name="gpukit-output", daemon=True)
        self._thread.start()

    def close(self, patience: float) -> None:
        """Wait until all has been passed on; at most ``patience`` seconds, should a pipe stay open.

        A process that waits in the kernel (a dead network mount) can hold one for ever.
        """
        self._thread.join(patience)

    def _work(self) -> None:
        while self._rests:
            waiting = any(self._rests.values())
            ready = self._selector.select(_PATIENCE if waiting else None)
            for key, _ in ready:
                self._read(key.fd)
            if not ready:
                for handle in self._rests:
                    self._flush(handle)
        self._selector.close()

    def _read(self, handle: int) -> None:
        data = os.read(handle, _CHUNK)
        if not data:
            self._flush(handle)
            self._selector.unregister(handle)
            del self._rests[handle]
            os.close(handle)
            return
        whole, ends, rest = (self._rests[handle] + data).rpartition(b"\n")
        if ends:
            self._show(handle, whole + ends)
        self._rests[handle] = rest
        if len(rest) >= _LONGEST:
            self._flush(handle)

    def _flush(self, handle: int) -> None:
        if self._rests[handle]:
            self._show(handle, self._rests[handle])
            self._rests[handle] = b""

    def _show(self, handle: int, data: bytes) -> None:
        mark = self._marks[handle]
        if mark:
            lines = data.removesuffix(b"\n").split(b"\n")
            data = b"".join(mark + line + b"\n" for line in lines)
        log.pass_on(data)
