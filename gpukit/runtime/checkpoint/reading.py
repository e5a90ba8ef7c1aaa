"""Find the newest checkpoint that is intact, and read it straight into the tensors that wait."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpukit.errors import CheckpointError, StoreError
from gpukit.runtime.store import Store

from .codec import decode, shared_names
from .commit import Writer, data_file, tree_file
from .manifest import FOLDER, MANIFEST, CheckpointName, Manifest, checkpoint_names
from .quarantine import Quarantine
from .tensorfile import OLDER_INSTEAD, DamagedFileError, check, read

if TYPE_CHECKING:
    import torch

__all__ = ["Loaded", "Reader"]


@dataclass(frozen=True)
class Loaded:
    """A verified checkpoint: its state, and which newer ones were passed over, and why."""

    name: CheckpointName
    state: Any
    seconds: float
    skipped: tuple[str, ...]


class Reader:
    """Loads checkpoints of one rank.

    Args:
        store: the run's store.
        writer: who reads: the attempt, and how many ranks there are.
    """

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def load_newest(self, into: Mapping[str, torch.Tensor] | None = None) -> Loaded | None:
        """Return the newest intact checkpoint; see :class:`.engine.Engine`."""
        begun = time.monotonic()
        names = checkpoint_names(self._store.list(FOLDER))
        quarantine = Quarantine(self._store, self._writer.attempt)
        skipped: list[str] = []
        for name in names:
            why = quarantine.reason(name) if name != names[-1] else ""
            if why:
                skipped.append(f"{name}: {why}")
                continue
            try:
                state = self._load(name, into or {})
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

    def begins_at(self, name: CheckpointName) -> None:
        """Note that the attempt begins at a checkpoint, and may crash from it."""
        if self._writer.rank == 0:
            Quarantine(self._store, self._writer.attempt).note(name)

    def _load(self, name: CheckpointName, into: Mapping[str, torch.Tensor]) -> Any:
        manifest = Manifest.load(self._require(name.key(MANIFEST)))
        if manifest.world_size != self._writer.world_size:
            raise CheckpointError(
                "world-size-changed",
                f"checkpoint {name} holds {manifest.world_size} ranks, "
                f"this run has {self._writer.world_size}",
                "run with as many GPUs as before, or start over with --fresh",
            )
        tree = self._tree(name, self._writer.rank, manifest)
        shared = shared_names(tree)
        tensors: dict[str, torch.Tensor] = {}
        for rank in range(manifest.world_size):  # every rank verifies all: all decide alike
            own, expected = rank == self._writer.rank, manifest.files[data_file(rank)]
            if not own:
                self._tree(name, rank, manifest)
            with self._store.open_read(name.key(data_file(rank))) as source:
                if own:
                    tensors |= read(source, expected, into)
                elif rank == 0 and shared:
                    tensors |= read(source, expected, into, shared)
                else:
                    check(source, expected)
        return decode(tree, tensors)

    def _tree(self, name: CheckpointName, rank: int, manifest: Manifest) -> Any:
        """Return a rank's state that is no tensor, verified."""
        data = self._require(name.key(tree_file(rank)))
        if [zlib.crc32(data)] != manifest.files[tree_file(rank)]["crc32"]:
            raise DamagedFileError(
                "checkpoint-damaged", f"{tree_file(rank)} is damaged", OLDER_INSTEAD
            )
        return json.loads(json.loads(data)["body"])["tree"]

    def _require(self, key: str) -> bytes:
        data = self._store.get(key)
        if data is None:
            raise DamagedFileError("checkpoint-damaged", f"{key} is missing", OLDER_INSTEAD)
        return data
