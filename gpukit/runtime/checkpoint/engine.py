"""The checkpoint engine: state in, durable and verified checkpoint out.

The interface is what the Checkpointer and the integrations use. This engine is synchronous: when
``save`` returns, the checkpoint is durable.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gpukit._version import __version__
from gpukit.errors import CheckpointError, StoreError
from gpukit.runtime.store import Store

from .codec import Json, decode, encode
from .manifest import FOLDER, MANIFEST, CheckpointName, Manifest, checkpoint_names
from .tensorfile import OLDER_INSTEAD, Checksums, DamagedFileError, read, write

if TYPE_CHECKING:
    import torch

__all__ = ["Engine", "FencedError", "Loaded", "Saved", "SyncEngine", "Writer"]

_RANKS_PATIENCE = 120.0


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
    """A checkpoint that is durable: its step, size in bytes, and the seconds that it took."""

    step: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint: its state, and which newer ones were passed over, and why."""

    name: CheckpointName
    state: Any
    seconds: float
    skipped: tuple[str, ...]


class Engine(Protocol):
    """Saves and loads the state of one rank."""

    def save(self, step: int, state: Any) -> Saved:
        """Make ``state`` durable as the checkpoint of ``step``.

        Raises:
            FencedError: a newer attempt of the run has begun.
            CheckpointError: the state holds something that cannot be kept.
            OSError: the store failed; older checkpoints are untouched.
        """

    def load_newest(self) -> Loaded | None:
        """Return the newest checkpoint that is intact, None where there is no checkpoint.

        Raises:
            CheckpointError: it was made by another number of ranks.
        """


class SyncEngine:
    """An engine that writes on the caller's thread, straight from the tensors.

    Args:
        store: the run's store.
        writer: who writes.
        keep: how many complete checkpoints are kept.
    """

    def __init__(self, store: Store, writer: Writer, *, keep: int = 2) -> None:
        self._store = store
        self._writer = writer
        self._keep = keep
        self._number = 0

    def save(self, step: int, state: Any) -> Saved:
        """Make ``state`` durable as the checkpoint of ``step``; see :class:`Engine`."""
        begun = time.monotonic()
        self._check_fence()
        self._number += 1
        name = CheckpointName(self._writer.attempt, self._number, step)
        tensors: dict[str, torch.Tensor] = {}
        tree = encode(state, tensors, "")
        rank = self._writer.rank
        with self._store.open_write(name.key(f"rank-{rank}.safetensors")) as sink:
            sums = write(tensors, sink.write)
        self._put_tree(name, tree, sums)
        total = self._commit(name) if rank == 0 else sums.size
        return Saved(step, total, time.monotonic() - begun)

    def _put_tree(self, name: CheckpointName, tree: Json, sums: Checksums) -> None:
        body = json.dumps({"tree": tree, "tensors": sums.to_json()}, separators=(",", ":"))
        data = json.dumps({"crc32": zlib.crc32(body.encode()), "body": body}).encode()
        self._store.put(name.key(f"rank-{self._writer.rank}.json"), data)

    def _commit(self, name: CheckpointName) -> int:
        """Write the manifest once the files of all ranks are there; return the total size."""
        files: dict[str, dict[str, Any]] = {}
        for rank in range(self._writer.world_size):
            data = _wait_for(lambda r=rank: self._store.get(name.key(f"rank-{r}.json")))  # type: ignore[misc]
            files[f"rank-{rank}.json"] = {"size": len(data), "crc32": [zlib.crc32(data)]}
            files[f"rank-{rank}.safetensors"] = json.loads(json.loads(data)["body"])["tensors"]
        self._check_fence()
        who = self._writer
        manifest = Manifest(
            run=who.run, step=name.step, attempt=who.attempt, pod_uid=who.pod_uid,
            world_size=who.world_size, time=time.time(), files=files, gpukit=__version__,
        )  # fmt: skip
        self._store.put(name.key(MANIFEST), manifest.dump())
        self._retain(name)
        return manifest.total_bytes

    def _retain(self, newest: CheckpointName) -> None:
        """Drop what is older than the checkpoints to keep; the newest is durable by now."""
        keys = list(self._store.list(FOLDER))
        complete = checkpoint_names(keys)
        keep = set(complete[: self._keep]) | {newest}
        for name in checkpoint_names(keys, complete=False):
            if name not in keep and name < newest:
                self._store.delete(name.key(MANIFEST))  # first: no manifest, no checkpoint
                self._store.delete(name.folder)

    def _check_fence(self) -> None:
        newer = f"record/attempt-{self._writer.attempt + 1:05d}.json"
        if self._writer.attempt and self._store.get(newer) is not None:
            raise FencedError(
                "fenced",
                f"attempt {self._writer.attempt + 1} of this run has begun; "
                f"attempt {self._writer.attempt} must not write any more",
                "this pod was taken for lost; let it end",
            )

    def load_newest(self) -> Loaded | None:
        """Return the newest intact checkpoint; see :class:`Engine`."""
        begun = time.monotonic()
        skipped: list[str] = []
        for name in checkpoint_names(self._store.list(FOLDER)):
            try:
                state = self._load(name)
            except (DamagedFileError, StoreError, OSError) as error:
                skipped.append(f"{name}: {getattr(error, 'message', error)}")
                continue
            return Loaded(name, state, time.monotonic() - begun, tuple(skipped))
        if skipped:
            raise CheckpointError(
                "no-good-checkpoint",
                "no checkpoint of this run is intact: " + "; ".join(skipped),
                "start over with --fresh, which keeps these files for you to look at",
            )
        return None

    def _load(self, name: CheckpointName) -> Any:
        manifest = Manifest.load(self._require(name.key(MANIFEST)))
        if manifest.world_size != self._writer.world_size:
            raise CheckpointError(
                "world-size-changed",
                f"checkpoint {name} holds {manifest.world_size} ranks, "
                f"this run has {self._writer.world_size}",
                "run with as many GPUs as before, or start over with --fresh",
            )
        own: Any = None
        for rank in range(manifest.world_size):  # every rank verifies all: all decide alike
            state = self._load_rank(name, rank, manifest)
            own = state if rank == self._writer.rank else own
        return own

    def _load_rank(self, name: CheckpointName, rank: int, manifest: Manifest) -> Any:
        data = self._require(name.key(f"rank-{rank}.json"))
        if [zlib.crc32(data)] != manifest.files[f"rank-{rank}.json"]["crc32"]:
            raise DamagedFileError(
                "checkpoint-damaged", f"rank-{rank}.json is damaged", OLDER_INSTEAD
            )
        tree = json.loads(json.loads(data)["body"])["tree"]
        file = f"rank-{rank}.safetensors"
        with self._store.open_read(name.key(file)) as source:
            tensors = read(source, manifest.files[file])
        return decode(tree, tensors)

    def _require(self, key: str) -> bytes:
        data = self._store.get(key)
        if data is None:
            raise DamagedFileError("checkpoint-damaged", f"{key} is missing", OLDER_INSTEAD)
        return data


def _wait_for(get: Callable[[], bytes | None]) -> bytes:
    """Return the first answer that is not None; ranks finish writing at different times."""
    end = time.monotonic() + _RANKS_PATIENCE
    while (data := get()) is None:
        if time.monotonic() > end:
            raise CheckpointError(
                "rank-missing", f"a rank did not write its part within {_RANKS_PATIENCE:.0f} s",
                "this checkpoint is dropped; older ones are untouched",
            )  # fmt: skip
        time.sleep(0.005)
    return data
