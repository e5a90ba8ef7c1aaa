"""Projects of small files for tests, and imports that leave no trace."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["fresh_imports", "write_files"]

JOB = """
from gpukit import gpu_job

@gpu_job(profile="cpu")
def train(epochs: int = 1) -> int:
    return epochs
"""


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a project: relative names and contents, dedented. Returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else textwrap.dedent(content).encode()
        path.write_bytes(data)
    return folder


@contextlib.contextmanager
def fresh_imports() -> Iterator[None]:
    """Take back what a test imports and puts on ``sys.path``."""
    modules, path = dict(sys.modules), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - set(modules):
            file = getattr(sys.modules[name], "__file__", None) or ""
            lasting = name.partition(".")[0] in ("gpukit", "tests") or file.startswith(sys.prefix)
            if not lasting:
                del sys.modules[name]
