"""Projects of small files for tests, and imports that leave no trace."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from gpukit.archive import Archive, build_archive
from gpukit.jobfile import load_job, locate

__all__ = ["JOB", "fresh_imports", "pack", "user_files", "write_files"]

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


def _where(module: ModuleType) -> str:
    """Return the file or folder of a module; those without are parts of something installed."""
    known = vars(module)
    folders = list(known.get("__path__") or ())
    return known.get("__file__") or (folders[0] if folders else sys.prefix)


@contextlib.contextmanager
def fresh_imports() -> Iterator[None]:
    """Take back what a test imports and puts on ``sys.path``."""
    modules, path = dict(sys.modules), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        new = set(sys.modules) - set(modules)
        for name in [name for name in new if not _lasts(name)]:
            del sys.modules[name]


def _lasts(name: str) -> bool:
    where = _where(sys.modules[name])
    return name.partition(".")[0] in ("gpukit", "tests") or where.startswith(sys.prefix)


def pack(file: Path, **options: Any) -> Archive:
    """Load a job file and build its archive."""
    return build_archive(locate(load_job(str(file))), **options)


def user_files(archive: Archive) -> dict[str, str]:
    """Return the user's files of an archive, and why each is in."""
    kinds = {f.name.removeprefix("src/"): f.kind for f in archive.files}
    return {name: kind for name, kind in kinds.items() if kind != "gpukit"}
