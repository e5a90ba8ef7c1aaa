"""From what a person calls a run to the store that holds its record and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpukit.errors import UsageError
from gpukit.local.directory import RunDirectory, home_of
from gpukit.runtime.checkpoint.manifest import FOLDER
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import Store, open_store

from .local_run import open_local

__all__ = ["RunStore", "open_run_store"]


@dataclass(frozen=True)
class RunStore:
    """A run's store.

    Attributes:
        name: what to call it.
        store: where its record and its checkpoints are.
        local: it is a run of the local backend.
    """

    name: str
    store: Store
    local: bool = False

    @property
    def record(self) -> RunRecord:
        """The run's record."""
        return RunRecord(self.store)


def open_run_store(target: str, *, home: Path | None = None) -> RunStore:
    """Find the store of a run.

    Args:
        target: the name of a local run, a directory, or a URL (``s3://bucket/runs/train-1a2b``).
        home: the folder of local runs; default ``GPUKIT_HOME`` or ``.gpukit``.

    Raises:
        UsageError: there is no such run, or nothing of a run in that place.
        StoreError: the place cannot be read.
    """
    if "://" in target:
        return _checked(target, open_store(target))
    directory = RunDirectory(home or home_of(), target)
    path = Path(target)
    if not directory.exists() and (path.is_dir() or "/" in target):
        inner = path / "store"
        return _checked(target, open_store(str(inner if inner.is_dir() else path)))
    return RunStore(target, open_local(target, home).record.store, local=True)


def _checked(target: str, store: Store) -> RunStore:
    if not store.list("record/") and not store.list(f"{FOLDER}/"):
        raise UsageError(
            "run-nothing", f"{target} holds neither a run's record nor checkpoints",
            "name the folder of one run: the one that has record/ and checkpoints/ in it",
        )  # fmt: skip
    return RunStore(target.rstrip("/").rsplit("/", 1)[-1] or target, store)
