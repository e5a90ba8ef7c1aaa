"""Submitting does what one means: start, attach, show, or go on.

The run's name says what it is (job, and a digest of code, arguments and spec), so the same
submission always finds the same run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

from gpukit.errors import UsageError
from gpukit.local import backend, lock
from gpukit.local.directory import RunDirectory, home_of
from gpukit.local.simulate import Simulation
from gpukit.render import Bundle, render
from gpukit.runtime.beginnings import inherited_name
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.store import DirectoryStore

from .local_run import LocalRun, open_local
from .plan import Plan

__all__ = ["Submission", "submit", "submit_local"]

Action = Literal["started", "continued", "attached", "finished"]


@dataclass(frozen=True)
class Submission:
    """What a submission led to.

    Attributes:
        run: the run.
        action: ``started`` anew; ``continued`` after it failed or was interrupted; ``attached``
            to one that runs; ``finished`` before, so there was nothing to do.
        from_step: the newest checkpoint that it goes on from; None from scratch.
    """

    run: LocalRun
    action: Action
    from_step: int | None = None


def submit_local(plan: Plan) -> LocalRun:
    """Start the planned run on the local backend, or find it, and return its handle."""
    return submit(plan).run


def submit(
    plan: Plan,
    *,
    simulation: Simulation | None = None,
    fresh: bool = False,
    force: bool = False,
    resume_from: str | None = None,
    home: Path | None = None,
    environ: Mapping[str, str] | None = None,
    estimate: Mapping[str, object] | None = None,
) -> Submission:
    """Start the planned run on the local backend, or find it.

    Args:
        plan: what to run.
        simulation: interruptions.
        fresh: begin at step 0; what there was is kept as ``<run>.old-1``.
        force: a separate run, ``<run>-2``.
        resume_from: begin from the newest checkpoint of this other run.
        home: the folder of local runs.
        environ: the environment, for secrets.
        estimate: what was said of the run, to be compared with what it takes.

    Raises:
        UsageError: the run goes on and cannot be begun afresh; ``resume_from`` has nothing.
    """
    directory = RunDirectory(home or home_of(), plan.bundle.run)
    source = None if resume_from is None else open_local(resume_from, directory.home)
    if source is not None and newest_step(source) is None:
        raise UsageError(
            "resume-nothing", f"{source.name} has no checkpoint to go on from",
            "submit without --resume-from",
        )  # fmt: skip
    if force:
        directory = _separate(directory)
    environ = environ or os.environ
    if not backend.running(directory) and (fresh or LocalRun(directory).record.result() is None):
        backend.check_secrets(plan.bundle, environ)  # before anything is made or moved
    claimed = backend.claim(directory)
    if claimed is None:
        _refuse_to_disturb(directory, fresh or resume_from is not None)
        return Submission(LocalRun(directory), "attached")
    try:
        if fresh:
            _set_aside(directory)
        run = LocalRun(directory)
        if run.record.result() is not None:
            return Submission(run, "finished")
        continued = directory.exists()
        bundle = plan.bundle if not force else _renamed(plan, directory.name)
        backend.write_bundle(directory, bundle, _about(plan, estimate), environ)
        if source is not None:
            _copy_checkpoint(source, run)
        backend.launch(directory, claimed, simulation)
        return Submission(run, "continued" if continued else "started", newest_step(run))
    finally:
        lock.release(claimed)


def newest_step(run: LocalRun) -> int | None:
    """Return the step of the run's newest checkpoint; None without one."""
    names = checkpoint_names(DirectoryStore(run.directory.store).list(f"{FOLDER}/"))
    return names[0].step if names else None


def _refuse_to_disturb(directory: RunDirectory, wanted: bool) -> None:
    if wanted:
        raise UsageError(
            "run-goes-on", f"{directory.name} is running",
            "wait for it or stop it first; --force makes a separate run",
        )  # fmt: skip


def _separate(directory: RunDirectory) -> RunDirectory:
    others = (replace(directory, name=f"{directory.name}-{n}") for n in count(2))
    return next(other for other in others if not other.root.exists())


def _set_aside(directory: RunDirectory) -> None:
    if directory.root.exists():
        old = (directory.root.with_name(f"{directory.name}.old-{n}") for n in count(1))
        directory.root.rename(next(path for path in old if not path.exists()))


def _renamed(plan: Plan, name: str) -> Bundle:
    task = plan.bundle.task
    return render(
        plan.bundle.spec, plan.placement, plan.archive, job=task.job, module=task.module,
        function=task.function, paths=task.paths, arguments=dict(plan.arguments),
        version=task.gpukit, run=name,
    )  # fmt: skip


def _about(plan: Plan, estimate: Mapping[str, object] | None) -> dict[str, object]:
    price = plan.placement.price
    return {
        "target": f"{plan.located.file}::{plan.located.function}",
        "profile": [str(p) for p in plan.resolved.spec.profile],
        "arguments": dict(plan.arguments),
        "prices": {
            "on_demand": None if price.on_demand is None else str(price.on_demand),
            "spot": None if price.spot is None else str(price.spot),
        },
        "price_source": price.source,
        "estimate": estimate,
    }


def _copy_checkpoint(source: LocalRun, target: LocalRun) -> None:
    """Put the newest checkpoint of another run under ours, as links where that can be."""
    store = DirectoryStore(source.directory.store)
    name = checkpoint_names(store.list(f"{FOLDER}/"))[0]
    goal = target.directory.store / inherited_name(name).folder
    if not goal.exists():
        shutil.copytree(source.directory.store / name.folder, goal, copy_function=_link)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
