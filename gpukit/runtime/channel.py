"""The pipe on which a trainer tells its supervisor what happened: one JSON object a line."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from typing import Any

__all__ = ["EventReader", "open_channel"]

_ROOM = 1 << 20  # a supervisor that waits for a slow store is not to stop the training
_CHUNK = 1 << 16
_F_SETPIPE_SZ = 1031


def open_channel() -> tuple[int, int]:
    """Return a pipe (read, write); reading never blocks, writing has a megabyte of room."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with suppress(OSError):  # Linux only, and there a limit per user
        fcntl.fcntl(write, _F_SETPIPE_SZ, _ROOM)
    return read, write


class EventReader:
    """Turns what arrives on a pipe into events; what is no event is passed over."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._rest = bytearray()

    def events(self) -> list[dict[str, Any]]:
        """Return the events that have arrived."""
        lines: list[bytearray] = []
        while chunk := self._read():
            self._rest += chunk
            if b"\n" in chunk:
                *whole, self._rest = self._rest.split(b"\n")
                lines += whole
        found = (_parse(line) for line in lines)
        return [event for event in found if event]

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.handle)

    def _read(self) -> bytes:
        try:
            return os.read(self.handle, _CHUNK)
        except BlockingIOError:
            return b""


def _parse(line: bytearray) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
