"""An exception of the user's code: what is shown of it, and the digest that recognises it."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path
from types import TracebackType

__all__ = ["digest_of", "user_traceback"]

_RUNNER = str(Path(__file__).with_name("trainer.py"))


def user_traceback(error: BaseException) -> str:
    """Return the traceback as text, without the frames of gpukit's runner."""
    shown = error.with_traceback(_without_runner(error.__traceback__))
    return "".join(traceback.format_exception(type(shown), shown, shown.__traceback__))


def digest_of(error: BaseException) -> str:
    """Return a digest of type, files, functions and lines; the same bug gives the same one.

    Directories and the message are left out: they differ between attempts (temporary folders,
    addresses, step numbers).
    """
    parts = [f"{type(error).__module__}.{type(error).__qualname__}"]
    for frame in traceback.extract_tb(_without_runner(error.__traceback__)):
        parts.append(f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}")
    if isinstance(error, SyntaxError):
        parts.append(f"{Path(error.filename or '').name}:{error.lineno}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _without_runner(frames: TracebackType | None) -> TracebackType | None:
    """Skip the frames at the top that are the runner's, or the import machinery's under it."""
    while frames is not None:
        name = frames.tb_frame.f_code.co_filename
        if (
            name != _RUNNER
            and not name.startswith("<frozen importlib")
            and "importlib" not in (Path(name).parent.name)
        ):
            return frames
        frames = frames.tb_next
    return None
