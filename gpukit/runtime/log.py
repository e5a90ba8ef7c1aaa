"""The pod's stdout: the trainers' output, and between its lines the runtime's structured ones.

A structured line is one JSON object, ``{"gpukit": kind, …}``, on a line of its own. The supervisor
is the only writer of the pod's stdout (:mod:`gpukit.runtime.relay` brings it what the trainers
print), so no line is torn: two processes on one pipe would write between each other's words.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .results import finite

__all__ = ["keep", "line", "pass_on", "say"]

_lock = threading.Lock()
_open_line = False  # what was passed on last does not end with a line break


def line(kind: str, **fields: object) -> None:
    """Write one structured line."""
    plain = finite({"gpukit": kind, "time": round(time.time(), 3), **fields})
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=True, default=str)
    _write(text)


def say(text: str) -> None:
    """Tell a person something; on stdout too, so that all lines are in one order everywhere."""
    _write(f"gpukit: {text}")


def keep(keeper: Callable[[bytes], None]) -> None:
    """Hand all that is written from now on to ``keeper`` too."""
    global _keeper
    with _lock:
        _keeper = keeper


def pass_on(data: bytes) -> None:
    """Write what a trainer printed, as it is: whole lines, or a part that waits for its end."""
    global _open_line
    with _lock:
        _put(data)
        _open_line = not data.endswith(b"\n")


def _write(text: str) -> None:
    global _open_line
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with _lock:
        start, _open_line = b"\n" if _open_line else b"", False
        _put(start + text.encode("utf-8", "backslashreplace") + b"\n")


def _put(data: bytes) -> None:
    _keeper(data)
    with suppress(OSError):
        while data:
            data = data[os.write(1, data) :]


def _nowhere(_data: bytes) -> None:
    return None


_keeper: Callable[[bytes], None] = _nowhere
