"""Signals as events: the supervisor's loop reads them from a pipe, so no handler ever acts."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType

__all__ = ["STOP_SIGNALS", "SignalPipe"]

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class SignalPipe:
    """SIGTERM, SIGINT and SIGCHLD arrive on :attr:`handle`; the process is not interrupted.

    The bootstrap blocks the stop signals before it becomes the supervisor, so one that came
    meanwhile is still pending; it arrives when this object is made.
    """

    def __init__(self) -> None:
        self.handle, self._write = os.pipe()
        os.set_blocking(self.handle, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, _note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def arrived(self) -> set[int]:
        """Return the signals that came since the last call."""
        with suppress(BlockingIOError):
            return set(os.read(self.handle, 4096))
        return set()


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: Python writes the number to the pipe before it calls a handler."""
