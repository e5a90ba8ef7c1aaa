"""The runtime's structured lines on stdout: one JSON object a line, ``{"gpukit": kind, …}``."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress

from .results import finite

__all__ = ["line", "say"]


def line(kind: str, **fields: object) -> None:
    """Write one line; whole, though trainers write to the same stdout."""
    plain = finite({"gpukit": kind, "time": round(time.time(), 3), **fields})
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=True, default=str)
    _write(1, text)


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    _write(2, f"gpukit: {text}")


def _write(handle: int, text: str) -> None:
    with suppress(OSError, ValueError):
        (sys.stdout if handle == 1 else sys.stderr).flush()
    with suppress(OSError):
        os.write(handle, text.encode("utf-8", "backslashreplace") + b"\n")
