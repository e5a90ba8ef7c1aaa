"""From what a person calls a run to the store that holds its record and its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gpukit.cluster.state import JobState
from gpukit.errors import UsageError
from gpukit.runtime.checkpoint.inspection import Measure
from gpukit.runtime.checkpoint.manifest import FOLDER
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore, Store, open_store

from .cluster_run import ClusterRun
from .handle import Run
from .local_run import LocalRun
from .store_access import kept_checkpoints, kept_record
from .view import read_view

__all__ = ["Look", "RunStore", "is_place", "store_at", "store_of"]

_RECORD = "record/"
Look = Literal["record", "checkpoints", "files"]


@dataclass(frozen=True)
class RunStore:
    """A run's store.

    Attributes:
        name: what to call it.
        store: where its record is; of a claim in a cluster a copy, with what was asked for.
        local: it is a run of the local backend.
        measure: reads a file of checkpoints where that is not done through ``store``.
        ended_by: why attempts ended, in words, as far as the cluster's objects still tell.
    """

    name: str
    store: Store
    local: bool = False
    measure: Measure | None = None
    ended_by: Mapping[int, str] = field(default_factory=dict)

    @property
    def record(self) -> RunRecord:
        """The run's record."""
        return RunRecord(self.store)


def is_place(target: str) -> bool:
    """Tell whether a person means a URL or a directory, and not the name of a run.

    A folder that ``gpukit download`` made has the name of its run, and nothing of a store in it.
    """
    parts = (Path(target) / part for part in ("record", FOLDER, "store"))
    return "/" in target or any(part.is_dir() for part in parts)


def store_at(target: str) -> RunStore:
    """Return the store in a place.

    Args:
        target: a URL (``s3://bucket/runs/train-1a2b``), a run's directory, or its store.

    Raises:
        UsageError: nothing of a run is there.
        StoreError: the place cannot be read.
    """
    inner = Path(target) / "store"
    store = open_store(str(inner) if "://" not in target and inner.is_dir() else target)
    if not store.list(_RECORD) and not store.list(f"{FOLDER}/"):
        raise UsageError(
            "run-nothing", f"{target} holds neither a run's record nor checkpoints",
            "name the folder of one run: the one that has record/ and checkpoints/ in it",
        )  # fmt: skip
    return RunStore(target.rstrip("/").rsplit("/", 1)[-1] or target, store)


def store_of(
    run: Run, look: Look = "record", tell: Callable[[str], None] = lambda _: None
) -> RunStore:
    """Return the store of a run of this machine or of a cluster.

    A claim is read through a short-lived pod.

    Args:
        run: the handle.
        look: what of a claim is wanted: its record, its list of checkpoints too, or what its files
            hold as well, for which all of them are read there.
        tell: takes a sentence when there is something to wait for.

    Raises:
        UsageError: the Job is gone from the cluster.
        StoreError: nothing outlives the run's pods, or the store cannot be reached.
        ClusterError: the cluster cannot be asked.
    """
    if isinstance(run, LocalRun):
        return RunStore(run.name, DirectoryStore(run.directory.store), local=True)
    job = run.job() if isinstance(run, ClusterRun) else None
    if not isinstance(run, ClusterRun) or job is None:
        raise UsageError(
            "run-gone", f"the Job of {run.name} is gone", "name the URL of its store instead"
        )
    found = _opened(run, job, look, tell)
    views = read_view(job, run.pods(), kept=found.record.attempts()).attempts
    return replace(found, ended_by={view.attempt.number: view.ended_by for view in views})


def _opened(run: ClusterRun, job: JobState, look: Look, tell: Callable[[str], None]) -> RunStore:
    if "://" in job.store:
        return RunStore(run.name, open_store(job.store))
    node = run.node()
    if look == "record":
        return RunStore(run.name, kept_record(run.client, job, node=node, tell=tell).store)
    store, measure = kept_checkpoints(run.client, job, sums=look == "files", node=node, tell=tell)
    return RunStore(run.name, store, measure=measure)
