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
from contextlib import suppress

from .results import finite

__all__ = ["line", "pass_on", "say"]

_lock = threading.Lock()
_open_line = False  # what was passed on last does not end with a line break


def line(kind: str, **fields: object) -> None:
    """Write one structured line."""
    plain = finite({"gpukit": kind, "time": round(time.time(), 3), **fields})
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=True, default=str)
    _write(1, text)


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    _write(2, f"gpukit: {text}")


def pass_on(data: bytes) -> None:
    """Write what a trainer printed, as it is: whole lines, or a part that waits for its end."""
    global _open_line
    with _lock:
        _put(1, data)
        _open_line = not data.endswith(b"\n")


def _write(handle: int, text: str) -> None:
    global _open_line
    with suppress(OSError, ValueError):
        (sys.stdout if handle == 1 else sys.stderr).flush()
    with _lock:
        start, _open_line = b"\n" if _open_line else b"", False
        _put(handle, start + text.encode("utf-8", "backslashreplace") + b"\n")


def _put(handle: int, data: bytes) -> None:
    with suppress(OSError):
        while data:
            data = data[os.write(handle, data) :]
