"""What a person asked for at submission that only the pod can do, for only it reaches the store.

``--fresh`` sets aside what the store has of earlier submissions; ``--resume-from`` takes the newest
checkpoint of another run. Both are done by the first attempt of the submission and by none after.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from gpukit.contract import Env
from gpukit.errors import StoreError

from . import log
from .checkpoint.manifest import FOLDER, MANIFEST, CheckpointName, checkpoint_names
from .environment import Environment
from .record import Attempt, RunRecord
from .store import DirectoryStore, Store, open_store

__all__ = ["inherited_name", "prepare_store"]

_ALIVE = 120.0  # seconds; an attempt writes to the record every 30


def prepare_store(environment: Environment, environ: Mapping[str, str]) -> Store:
    """Open the run's store, and do what the submission asked for.

    Raises:
        StoreError: a store cannot be used, another run writes it, or the one to resume from has
            no checkpoint.
    """
    store = open_store(environment.store)
    _refuse_shared(RunRecord(store).attempts(), environment.owner, time.time())
    if environ.get(Env.FRESH) == "1" and _is_new(store, environment.submitted_at):
        _set_aside(store)
    source = environ.get(Env.RESUME_FROM)
    if source and not checkpoint_names(store.list(f"{FOLDER}/")):
        _inherit(open_store(source), store, source)
    return store


def _refuse_shared(attempts: Sequence[Attempt], owner: str, now: float) -> None:
    """Refuse to write a store whose newest attempt is another namespace's, and alive.

    Within a namespace there is one Job of a name, and Kubernetes has one pod of it at a time.
    """
    if not attempts or not owner:
        return
    last = attempts[-1]
    alive = max(last.progress.updated, last.start.started)
    if last.end is None and last.start.owner not in ("", owner) and now - alive < _ALIVE:
        raise StoreError(
            "store-shared",
            f"pod {last.start.pod} on {last.start.node}, of another namespace or cluster, writes "
            "this store",
            "wait until that run has ended, or give this job a checkpoints= of its own",
        )


def inherited_name(name: CheckpointName) -> CheckpointName:
    """Return the name of a checkpoint in the run that inherits it: older than all of its own."""
    return CheckpointName(attempt=0, number=1, step=name.step)


def _is_new(store: Store, submitted_at: float | None) -> bool:
    """Tell whether no attempt of this submission has begun."""
    known = RunRecord(store).submissions()
    return submitted_at is not None and not any(s.time >= submitted_at for s in known)


def _set_aside(store: Store) -> None:
    keys = store.list("")
    if not keys:
        return
    if isinstance(store, DirectoryStore):
        root = store.root
        others = (root.with_name(f"{root.name}.old-{n}") for n in count(1))
        target = next(path for path in others if not path.exists())
        root.rename(target)
        log.say(f"begins afresh; what there was is kept as {target.name}")
        return
    number = next(n for n in count(1) if not store.list(f"old-{n}/"))
    for key in keys:
        if not key.startswith("old-"):
            _copy(store, key, store, f"old-{number}/{key}")
    for part in sorted({key.partition("/")[0] for key in keys if not key.startswith("old-")}):
        store.delete(part)
    log.say(f"begins afresh; what there was is kept under old-{number}/")


def _inherit(source: Store, target: Store, where: str) -> None:
    """Copy the newest checkpoint of another run, its manifest last."""
    names = checkpoint_names(source.list(f"{FOLDER}/"))
    if not names:
        raise StoreError(
            "resume-nothing", f"there is no checkpoint to go on from in {where}",
            "submit without --resume-from",
        )  # fmt: skip
    name = names[0]
    files = [key.rpartition("/")[2] for key in source.list(f"{name.folder}/")]
    for file in sorted(files, key=lambda file: file == MANIFEST):
        _copy(source, name.key(file), target, inherited_name(name).key(file))
    log.say(f"goes on from step {name.step} of {Path(where).name}")


def _copy(source: Store, key: str, target: Store, goal: str) -> None:
    with source.open_read(key) as reader, target.open_write(goal) as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
