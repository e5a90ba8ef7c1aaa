"""Following a local run from any process: its logs and the backend's events, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from . import lock
from .directory import Event, RunDirectory

__all__ = ["Follower", "LogLine"]


@dataclass(frozen=True)
class LogLine:
    """One line that an attempt wrote."""

    attempt: int
    text: str


@dataclass
class Follower:
    """Reads what is new at every :meth:`poll`; ``done`` once the run has ended and all is read.

    Args:
        directory: the run; it begins with the newest submission.
    """

    directory: RunDirectory
    done: bool = False
    _seen: int = 0
    _attempt: int = 0
    _log: BinaryIO | None = None
    _rest: bytes = b""

    def poll(self) -> list[LogLine | Event]:
        """Return the lines and events since the last call, in the order in which they came."""
        over = lock.holder(self.directory.lock_file) is None  # before reading: nothing is missed
        items: list[LogLine | Event] = []
        events = self.directory.submission()
        for event in events[self._seen :]:
            if event["event"] == "started":
                self._open(int(str(event["attempt"])), int(str(event["log_offset"])))
            else:
                items += self._lines(whole=event["event"] == "exited")
            items.append(event)
        self._seen = len(events)
        items += self._lines(whole=over)
        self.done = over
        if over and self._log is not None:
            self._log.close()
            self._log = None
        return items

    def _open(self, attempt: int, offset: int) -> None:
        if self._log is not None:
            self._log.close()
        self._attempt, self._rest = attempt, b""
        path = self.directory.log(attempt)
        self._log = path.open("rb") if path.exists() else None
        if self._log is not None:
            self._log.seek(offset)

    def _lines(self, *, whole: bool) -> list[LogLine | Event]:
        """Return the new lines of the attempt's log; an unfinished one only if ``whole``."""
        if self._log is None:
            return []
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        if whole and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return [LogLine(self._attempt, line.decode(errors="replace")) for line in lines]
