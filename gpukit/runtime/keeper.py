"""The pod's log, kept in the store as well: a pod that was evicted takes its own log with it.

Keys are ``logs/attempt-00001/000000000000.log``: segments, named by the offset of their first byte,
from the line on with which the attempt begins. What is left out where a log is very long shows as a
gap between offsets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from gpukit.errors import StoreError

from .store import Store

__all__ = ["LogKeeper", "join_segments", "log_prefix"]

_EVERY = 10.0  # seconds that a line may be in the pod's log only
_SEGMENT = 256 * 1024
_PENDING = 4 * 1024 * 1024  # what waits for a store that is gone
_FIRST, _MOST = 4 * 1024 * 1024, 64 * 1024 * 1024


class LogKeeper:
    """Writes what it is given to the store, from a thread of its own.

    Args:
        store: of the run.
        number: the attempt.
        every: seconds between two writes.
        most: bytes that are kept: the first ones, and the newest.
    """

    def __init__(
        self, store: Store, number: int, *, every: float = _EVERY, most: int = _MOST
    ) -> None:
        self._store = store
        self._prefix = log_prefix(number)
        self._every = every
        self._most = most
        self._pending = bytearray()
        self._offset = 0  # of the first pending byte
        self._segments: list[tuple[int, int]] = []  # offset and size of those that are full
        self._current, self._current_at = bytearray(), 0
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="gpukit-log", daemon=True)
        self._thread.start()

    def offer(self, data: bytes) -> None:
        """Take what was written to the pod's log; returns at once."""
        with self._change:
            self._pending += data
            surplus = len(self._pending) - _PENDING
            if surplus > 0:
                del self._pending[:surplus]
                self._offset += surplus
            if len(self._pending) >= _SEGMENT:
                self._change.notify()

    def close(self, patience: float) -> None:
        """Write what is left; give up after ``patience`` seconds."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._change:
                until = time.monotonic() + self._every
                while not self._closing and len(self._pending) < _SEGMENT:
                    if not self._change.wait(max(until - time.monotonic(), 0.0)):
                        break
                data, offset = bytes(self._pending), self._offset
                closing = self._closing
            if data and self._write(data, offset):
                with self._change:
                    done = offset + len(data) - self._offset
                    del self._pending[: max(done, 0)]
                    self._offset += max(done, 0)
            if closing:
                return

    def _write(self, data: bytes, offset: int) -> bool:
        """Put the data into segments; tell whether all of it is there."""
        end = self._current_at + len(self._current)
        if offset != end:  # something was thrown away while the store was gone
            self._full()
            self._current, self._current_at = bytearray(), offset
        self._current += data
        try:
            self._store.put(_key(self._prefix, self._current_at), bytes(self._current))
            if len(self._current) >= _SEGMENT:
                self._full()
                self._current_at += len(self._current)
                self._current = bytearray()
            self._thin()
        except StoreError:  # the record's own writer says that the store is gone
            del self._current[len(self._current) - len(data) :]
            return False
        return True

    def _full(self) -> None:
        if self._current:
            self._segments.append((self._current_at, len(self._current)))

    def _thin(self) -> None:
        """Remove the oldest segments behind the first ones, where there are too many bytes."""
        total = sum(size for _, size in self._segments)
        first = min(_FIRST, self._most // 4)
        while total > self._most:
            victim = next(s for s in self._segments if s[0] >= first)
            self._store.delete(_key(self._prefix, victim[0]))
            self._segments.remove(victim)
            total -= victim[1]


def log_prefix(number: int) -> str:
    """Return the prefix of the keys of an attempt's log."""
    return f"logs/attempt-{number:05d}/"


def join_segments(segments: Sequence[tuple[str, bytes]]) -> tuple[bytes, int]:
    """Put segments together; return the log, and how many bytes of it were not kept.

    Args:
        segments: keys or paths, and what is under them.
    """
    parts = sorted((int(key.rpartition("/")[2].partition(".")[0]), data) for key, data in segments)
    whole, missing, end = bytearray(), 0, 0
    for offset, data in parts:
        if offset > end:
            missing += offset - end
            whole += b"\n" if whole and not whole.endswith(b"\n") else b""
        whole += data[max(end - offset, 0) :]
        end = max(end, offset + len(data))
    return bytes(whole), missing


def _key(prefix: str, offset: int) -> str:
    return f"{prefix}{offset:012d}.log"
