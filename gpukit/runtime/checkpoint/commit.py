"""What makes files a checkpoint: the fence, the manifest, and what is dropped afterwards.

Shared by the engines and the writer process; standard library only.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpukit._version import __version__
from gpukit.errors import CheckpointError, StoreError
from gpukit.runtime.directio import CHUNK
from gpukit.runtime.store import Store

from .codec import kept_names, shared_names
from .manifest import FOLDER, MANIFEST, CheckpointName, Manifest, checkpoint_names
from .retention import Policy, superseded

__all__ = [
    "FencedError", "Publisher", "RanksDifferError", "Saved", "Writer", "data_file", "tree_file",
]  # fmt: skip

_RANKS_PATIENCE = 120.0
_POLL, _SLOWEST_POLL = 0.005, 0.5


class RanksDifferError(CheckpointError):
    """A rank has left out what rank 0 does not keep: no checkpoint of this job will be whole."""

    permanent = True


class FencedError(CheckpointError):
    """A newer attempt of the run has begun; this process must not write any more."""

    permanent = False


@dataclass(frozen=True)
class Writer:
    """Who writes: the run, the attempt with its pod (the fencing token), the rank."""

    run: str
    attempt: int
    pod_uid: str = ""
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is durable.

    Attributes:
        step: safe points passed.
        bytes: size of all its files.
        seconds: from the beginning of the save until it was durable.
        stall: of these, how long training waited.
    """

    step: int
    bytes: int
    seconds: float
    stall: float = 0.0


def data_file(rank: int) -> str:
    """Return the name of a rank's tensors in the checkpoint's folder."""
    return f"rank-{rank}.safetensors"


def tree_file(rank: int) -> str:
    """Return the name of a rank's other state."""
    return f"rank-{rank}.json"


class Publisher:
    """Puts the small files of a checkpoint, and commits it by its manifest.

    Args:
        store: the run's store.
        writer: who writes.
    """

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def check_fence(self) -> None:
        """Refuse to go on once this process is not the newest writer of the run.

        Raises:
            FencedError: a newer attempt has begun, or another pod holds this attempt's number.
        """
        who = self._writer
        if not who.attempt:
            return
        if self._store.get(_attempt_key(who.attempt + 1)) is not None:
            raise FencedError(
                "fenced",
                f"attempt {who.attempt + 1} of this run has begun; "
                f"attempt {who.attempt} must not write any more",
                "this pod was taken for lost; let it end",
            )
        owner = _owner(self._store.get(_attempt_key(who.attempt)))
        if owner and who.pod_uid and owner != who.pod_uid:
            raise FencedError(
                "fenced",
                f"attempt {who.attempt} of this run belongs to the pod {owner}, not to this one",
                "let this pod end; the store gave the number to the other one",
            )

    def put_tree(self, name: CheckpointName, rank: int, tree: str, tensors: dict[str, Any]) -> None:
        """Write a rank's state that is no tensor, with the checksums of its tensor file.

        Args:
            name: the checkpoint.
            rank: whose state it is.
            tree: the state as JSON.
            tensors: size, chunk size and checksums of the tensor file.
        """
        body = '{"tree":' + tree + ',"tensors":' + json.dumps(tensors, separators=(",", ":")) + "}"
        data = json.dumps({"crc32": zlib.crc32(body.encode()), "body": body}).encode()
        self._store.put(name.key(tree_file(rank)), data)

    def put_rank(
        self, name: CheckpointName, rank: int, tree: str, data: memoryview, size: int
    ) -> int:
        """Write both files of a rank from memory; return their size."""
        sums = self._store.put_memory(name.key(data_file(rank)), data, size)
        self.put_tree(name, rank, tree, {"size": size, "chunk": CHUNK, "crc32": sums})
        return size

    def commit(
        self, name: CheckpointName, policy: Policy, lost: Callable[[], bool] = lambda: False
    ) -> int:
        """Write the manifest once the files of all ranks are there, then drop what is too old.

        Args:
            name: the checkpoint.
            policy: what is kept.
            lost: tells that a rank is gone, so that its files will not come.

        Returns:
            The size of all files in bytes.

        Raises:
            FencedError: a newer attempt has begun, or the manifest is there already.
            RanksDifferError: a rank has left out what rank 0 does not keep.
            CheckpointError: a rank's files did not come.
            StoreError: the store failed.
        """
        who = self._writer
        files: dict[str, dict[str, Any]] = {}
        kept: set[str] = set()  # by rank 0
        for rank in range(who.world_size):
            data = self._wait_for(name.key(tree_file(rank)), lost)
            body = json.loads(json.loads(data)["body"])
            files[tree_file(rank)] = {"size": len(data), "crc32": [zlib.crc32(data)]}
            files[data_file(rank)] = body["tensors"]
            if rank == 0:
                kept = kept_names(body["tree"]) if who.world_size > 1 else kept
            elif missing := shared_names(body["tree"]) - kept:
                raise RanksDifferError(
                    "ranks-differ", f"rank {rank} counts on rank 0 to keep {min(missing)}",
                    "give the Checkpointer of every rank the same objects in the same order, or "
                    "leave replicated=True out",
                )  # fmt: skip
        self.check_fence()
        manifest = Manifest(
            run=who.run, step=name.step, attempt=who.attempt, pod_uid=who.pod_uid,
            world_size=who.world_size, time=time.time(), files=files, gpukit=__version__,
        )  # fmt: skip
        key = name.key(MANIFEST)
        if not self._store.create(key, manifest.dump()) and not self._is_ours(key, manifest):
            raise FencedError(
                "fenced", f"the checkpoint {name} is there already: another process wrote it",
                "two processes write as the same attempt; let this one end",
            )  # fmt: skip
        try:
            self._retain(name, policy, manifest.time)
        except StoreError as error:  # this one is durable all the same
            print(f"gpukit: old checkpoints stay: {error}", file=sys.stderr, flush=True)
        return manifest.total_bytes

    def discard(self, name: CheckpointName) -> None:
        """Remove what was written of a checkpoint that has not been committed."""
        if self._store.get(name.key(MANIFEST)) is None:
            self._store.delete(name.folder)

    def _retain(self, newest: CheckpointName, policy: Policy, now: float) -> None:
        """Drop what the policy does not keep; the newest is durable by now."""
        keys = self._store.list(FOLDER)
        complete = checkpoint_names(keys)
        times = {newest: now}
        if policy.every:
            times |= {name: self._time_of(name) for name in complete if name != newest}
        dropped = superseded(
            newest, complete, checkpoint_names(keys, complete=False), policy, times
        )
        for name in dropped:
            self._store.delete(name.key(MANIFEST))  # first: no manifest, no checkpoint
            self._store.delete(name.folder)

    def _is_ours(self, key: str, manifest: Manifest) -> bool:
        """Tell whether an earlier try, of which no answer came, has written this manifest."""
        there = Manifest.load(self._store.get(key) or b"")
        return there.pod_uid == manifest.pod_uid and there.files == manifest.files

    def _time_of(self, name: CheckpointName) -> float:
        try:
            return Manifest.load(self._store.get(name.key(MANIFEST)) or b"").time
        except CheckpointError:
            return 0.0

    def _wait_for(self, key: str, lost: Callable[[], bool]) -> bytes:
        """Return what is under ``key``; ranks finish writing at different times."""
        end, pause = time.monotonic() + _RANKS_PATIENCE, _POLL
        while True:
            gone = lost()  # before the look: what it wrote last is seen
            data = self._store.get(key)
            if data is not None:
                return data
            if gone or time.monotonic() > end:
                raise CheckpointError(
                    "rank-missing",
                    "a rank died before it had written its part" if gone
                    else f"a rank did not write its part within {_RANKS_PATIENCE:.0f} s",
                    "this checkpoint is dropped; older ones are untouched",
                )  # fmt: skip
            time.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL)


def _attempt_key(number: int) -> str:
    return f"record/attempt-{number:05d}.json"


def _owner(data: bytes | None) -> str:
    """Return the pod that an attempt's record names; "" where it names none."""
    try:
        owner = json.loads(data or b"{}").get("pod_uid")
    except (ValueError, AttributeError):
        return ""
    return owner if isinstance(owner, str) else ""
