"""Look at the checkpoints of a run without loading them: which there are, and are they intact."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

from gpukit.errors import StoreError
from gpukit.runtime.store import Store

from .manifest import FOLDER, MANIFEST, CheckpointName, Manifest, checkpoint_names
from .quarantine import Quarantine
from .tensorfile import DamagedFileError

__all__ = ["Listed", "Measure", "list_checkpoints", "verify"]

_PIECE = 8 << 20

Measure = Callable[[str, int], Iterable[tuple[int, int]]]
"""From a key and the size of a chunk to length and CRC-32 of each chunk of that file."""

State = Literal["complete", "intact", "damaged", "incomplete", "quarantined"]


@dataclass(frozen=True)
class Listed:
    """One checkpoint in a store.

    Attributes:
        name: step, attempt and number of the save.
        state: ``complete`` has a manifest, and its files were not read; ``intact`` was read;
            ``incomplete`` has no manifest: a save that was cut short, or still goes on;
            ``quarantined`` is passed over: attempts that began at it crashed.
        bytes: size of its files; None where it is not known.
        time: unix seconds at which it was complete; None where it is not known.
        ranks: how many processes wrote it.
        problem: what is damaged, or why it is passed over.
    """

    name: CheckpointName
    state: State
    bytes: int | None = None
    time: float | None = None
    ranks: int | None = None
    problem: str = ""


def list_checkpoints(store: Store, attempts: int = 0) -> list[Listed]:
    """Return the checkpoints in a store, newest first.

    Args:
        store: the run's.
        attempts: how many the run record has.

    Raises:
        StoreError: the store cannot be read.
    """
    keys = store.list(f"{FOLDER}/")
    complete = checkpoint_names(keys)
    quarantine = Quarantine(store, attempts + 1)
    found = []
    for name in checkpoint_names(keys, complete=False):
        one = _listed(store, name) if name in complete else Listed(name, "incomplete")
        # the oldest one is loaded in any case: there is nothing to fall back to
        why = quarantine.reason(name) if one.state == "complete" and name != complete[-1] else ""
        found.append(replace(one, state="quarantined", problem=why) if why else one)
    return found


def _listed(store: Store, name: CheckpointName) -> Listed:
    try:
        found = _manifest(store, name)
    except DamagedFileError as error:
        return Listed(name, "damaged", problem=error.message)
    return Listed(name, "complete", found.total_bytes, found.time, found.world_size)


def verify(store: Store, listed: Listed, measure: Measure | None = None) -> Listed:
    """Read every file of a checkpoint, and compare sizes and checksums with its manifest.

    Args:
        store: the run's.
        listed: the checkpoint.
        measure: reads a file where that is not done here.

    Raises:
        StoreError: the store cannot be read.
    """
    if listed.state != "complete":
        return listed
    try:
        files = _manifest(store, listed.name).files
    except DamagedFileError as error:
        return replace(listed, state="damaged", problem=error.message)
    there = set(store.list(f"{listed.name.folder}/"))
    problems = [
        problem
        for file, entry in sorted(files.items())
        if (problem := _problem(measure or _reader(store), listed.name.key(file), entry, there))
    ]
    return replace(listed, state="damaged" if problems else "intact", problem="; ".join(problems))


def _manifest(store: Store, name: CheckpointName) -> Manifest:
    return Manifest.load(store.get(name.key(MANIFEST)) or b"")


def _problem(measure: Measure, key: str, entry: dict[str, Any], there: set[str]) -> str:
    file = key.rpartition("/")[2]
    if key not in there:
        return f"{file} is missing"
    size, sums = int(entry["size"]), list(entry["crc32"])
    chunk = int(entry.get("chunk") or max(size, 1))
    found = 0
    try:
        for number, (length, crc32) in enumerate(measure(key, chunk)):
            found += length
            if number >= len(sums) or crc32 != sums[number]:
                return f"{file} is damaged within {chunk} bytes from {number * chunk} on"
    except OSError as error:
        return f"{file} cannot be read: {error}"
    except StoreError as error:
        return f"{file} cannot be read: {error.message}"
    return "" if found == size else f"{file} has {found} bytes instead of {size}"


def _reader(store: Store) -> Measure:
    def measure(key: str, chunk: int) -> Iterator[tuple[int, int]]:
        with store.open_read(key) as source:
            yield from _chunks(source, chunk)

    return measure


def _chunks(source: BinaryIO, chunk: int) -> Iterator[tuple[int, int]]:
    """Yield length and checksum of each chunk of a stream."""
    while True:
        length = crc32 = 0
        while length < chunk and (piece := source.read(min(_PIECE, chunk - length))):
            crc32 = zlib.crc32(piece, crc32)
            length += len(piece)
        if not length:
            return
        yield length, crc32
