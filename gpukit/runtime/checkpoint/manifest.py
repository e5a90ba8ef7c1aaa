"""The manifest: a checkpoint exists if and only if its manifest does.

Layout in the run's store, one directory per checkpoint (attempt and number are part of its name,
so that no two saves ever write the same file)::

    checkpoints/step-000001200.a0003.n0012/rank-0.safetensors   tensors
    checkpoints/step-000001200.a0003.n0012/rank-0.json          all other state, and checksums
    checkpoints/step-000001200.a0003.n0012/manifest.json        written last
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .tensorfile import OLDER_INSTEAD, DamagedFileError

__all__ = ["FOLDER", "MANIFEST", "CheckpointName", "Manifest", "checkpoint_names"]

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{9,})\.a(\d{4,})\.n(\d{4,})")


@dataclass(frozen=True, order=True)
class CheckpointName:
    """Name of a checkpoint: who wrote it, and of which step. Orders by age.

    Attributes:
        attempt: the attempt that wrote it; a later one begins where an earlier one ended.
        number: which save of the attempt.
        step: safe points passed.
    """

    attempt: int
    number: int
    step: int

    def __str__(self) -> str:
        return f"step-{self.step:09d}.a{self.attempt:04d}.n{self.number:04d}"

    @property
    def folder(self) -> str:
        """Key of its directory in the store."""
        return f"{FOLDER}/{self}"

    def key(self, file: str) -> str:
        """Key of one of its files in the store."""
        return f"{FOLDER}/{self}/{file}"


def checkpoint_names(keys: Iterable[str], *, complete: bool = True) -> list[CheckpointName]:
    """Return the checkpoints among the keys of a store, newest first.

    Args:
        keys: all keys under :data:`FOLDER`.
        complete: only those that have a manifest.
    """
    names: set[CheckpointName] = set()
    for key in keys:
        folder, _, file = key.removeprefix(f"{FOLDER}/").partition("/")
        match = _NAME.fullmatch(folder)
        if match and (not complete or file == MANIFEST):
            names.add(CheckpointName(int(match[2]), int(match[3]), int(match[1])))
    return sorted(names, reverse=True)


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of; its presence makes it one.

    Attributes:
        run: name of the run.
        step: safe points passed.
        attempt: the attempt that wrote it, which fences off older writers.
        pod_uid: the pod that wrote it.
        world_size: number of ranks that it holds.
        time: unix seconds.
        files: for each file its size in bytes, chunk size and CRC-32 of each chunk.
        gpukit: version that wrote it.
    """

    run: str
    step: int
    attempt: int
    pod_uid: str
    world_size: int
    time: float
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    gpukit: str = ""

    @property
    def total_bytes(self) -> int:
        """Size of all files together."""
        return sum(int(entry["size"]) for entry in self.files.values())

    def dump(self) -> bytes:
        """Return the manifest's file: one line of JSON with a checksum of itself."""
        body = json.dumps({"format": 1, **asdict(self)}, sort_keys=True, separators=(",", ":"))
        return json.dumps({"crc32": zlib.crc32(body.encode()), "body": body}).encode()

    @staticmethod
    def load(data: bytes) -> Manifest:
        """Read a manifest's file.

        Raises:
            DamagedFileError: not a manifest, or not as it was written.
        """
        try:
            outer = json.loads(data)
            body: str = outer["body"]
            if zlib.crc32(body.encode()) != outer["crc32"]:
                raise DamagedFileError("manifest-damaged", "the manifest is damaged", OLDER_INSTEAD)
            raw = json.loads(body)
            if raw.pop("format") != 1:
                raise DamagedFileError(
                    "manifest-format",
                    "the manifest has a format that is not known here",
                    OLDER_INSTEAD,
                )
            return Manifest(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedFileError(
                "manifest-damaged", f"the manifest cannot be read: {error}", OLDER_INSTEAD
            ) from None
