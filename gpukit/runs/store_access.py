"""What of a run only its store knows: logs of pods that are gone, and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from gpukit.cluster.client import Client
from gpukit.cluster.reader import read_files
from gpukit.cluster.state import JobState
from gpukit.errors import StoreError
from gpukit.runtime.keeper import join_segments, log_prefix

__all__ = ["download_outputs", "kept_log"]

_OUTPUTS = "outputs/"


def kept_log(
    client: Client, job: JobState, attempt: int, *, node: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[str], int]:  # fmt: skip
    """Return an attempt's lines from the store, and how many bytes of them were not kept.

    Raises:
        StoreError: the store cannot be read, or has nothing of it.
    """
    prefix = log_prefix(attempt)
    segments = list(read_files(client, job, [prefix], node=node, tell=tell))
    if not segments:
        raise StoreError(
            "logs-gone", f"the log of attempt {attempt} of {job.name} is gone: its pod is, and the "
            "store has none of it",
            f"`gpukit status {job.name}` lists the attempts",
        )  # fmt: skip
    data, missing = join_segments(segments)
    return data.decode(errors="replace").splitlines(), missing


def download_outputs(
    client: Client, job: JobState, target: Path, *, node: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> list[Path]:  # fmt: skip
    """Write what the function left in ``gpukit.output_dir()`` below ``target``.

    Raises:
        StoreError: the store cannot be read, or a name leads out of ``target``.
    """
    written = []
    for name, data in read_files(client, job, [_OUTPUTS], node=node, tell=tell):
        inside = PurePosixPath(name.removeprefix(_OUTPUTS))
        if inside.is_absolute() or ".." in inside.parts:
            raise StoreError("output-name", f"an output is named {name!r}", "rename it in the job")
        path = target.joinpath(*inside.parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(data)
        os.replace(part, path)  # noqa: PTH105 - atomic: no half output under its name
        written.append(path)
    return written
