"""What of a run only its store knows once its pods are gone: record, logs, outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NoReturn, cast

from gpukit.cluster.client import Client
from gpukit.cluster.reader import look_at, read_files
from gpukit.cluster.state import JobState
from gpukit.errors import StoreError
from gpukit.runtime.checkpoint.inspection import Measure
from gpukit.runtime.checkpoint.manifest import FOLDER
from gpukit.runtime.keeper import join_segments, log_prefix
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import Store

__all__ = ["download_outputs", "kept_checkpoints", "kept_log", "kept_record"]

_OUTPUTS = "outputs/"
_RECORD = "record/"


def kept_record(
    client: Client, job: JobState, *, node: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> RunRecord:  # fmt: skip
    """Return a copy of the run's record, to be read only.

    Raises:
        StoreError: nothing outlives the run's pods, or the store cannot be reached.
        ClusterError: the pod that reads a claim does not start.
    """
    files = dict(read_files(client, job, [_RECORD], node=node, tell=tell))
    return RunRecord(cast(Store, _Copy(files)))


def kept_checkpoints(
    client: Client, job: JobState, *, sums: bool = False, node: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Store, Measure]:  # fmt: skip
    """Return a copy of the record and the manifests in a claim, and the measures of its files.

    Args:
        client: of the API server.
        job: the run.
        sums: whether every file is to be read there.
        node: where a pod of the run is.
        tell: takes a sentence when there is something to wait for.

    Raises:
        StoreError: nothing outlives the run's pods, or the store cannot be reached.
        ClusterError: the pod that reads a claim does not start.
    """
    files, there = look_at(
        client, job, [_RECORD], [f"{FOLDER}/"], sums=sums, node=node, tell=tell
    )  # fmt: skip

    def measure(key: str, chunk: int) -> Iterator[tuple[int, int]]:
        found = there[key]
        for number, crc32 in enumerate(found.crc32):
            yield min(chunk, found.size - number * chunk), crc32

    return cast(Store, _Copy(files, there)), measure


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


class _Copy:
    """Objects that were read before, as a store that cannot be written."""

    def __init__(self, files: Mapping[str, bytes], others: Iterable[str] = ()) -> None:
        self._files = files
        self._keys = sorted({*files, *others})

    def get(self, key: str) -> bytes | None:
        """Return what is under ``key``; None where there is nothing."""
        return self._files.get(key)

    def list(self, prefix: str) -> list[str]:
        """Return the keys that start with ``prefix``, sorted."""
        return [key for key in self._keys if key.startswith(prefix)]

    def __getattr__(self, name: str) -> NoReturn:
        raise StoreError("store-copy", f"a copy of a record has no {name}", "only read it")
