"""Submitting to a cluster does what one means: start, attach, show, or go on.

The run's name is the Job's name, so of two submissions at the same moment one creates it, and the
other finds it. A Job that has ended is removed before the next one of its name is created: two live
runs never share a directory of checkpoints.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Literal

from gpukit.cluster import submission
from gpukit.cluster.client import Client
from gpukit.cluster.state import JobState
from gpukit.cluster.submission import Parts, Stamp
from gpukit.errors import UsageError
from gpukit.manifests.storage import store_of
from gpukit.render import Bundle, render

from .cluster_run import ClusterRun
from .plan import Plan

__all__ = ["ClusterSubmission", "rendered_as", "submit_to_cluster"]

Action = Literal["started", "continued", "attached", "finished", "checked"]


@dataclass(frozen=True)
class ClusterSubmission:
    """What a submission led to.

    Attributes:
        run: the run.
        action: ``started`` anew; ``continued`` after it failed; ``attached`` to one that goes on;
            ``finished`` before, so there was nothing to do; ``checked`` by the server only.
        warnings: of the API server.
    """

    run: ClusterRun
    action: Action
    warnings: tuple[str, ...] = ()


def _quiet(_text: str) -> None:
    return None


def submit_to_cluster(
    plan: Plan,
    client: Client,
    *,
    fresh: bool = False,
    force: bool = False,
    resume_from: str | None = None,
    dry_run: bool = False,
    tell: Callable[[str], None] = _quiet,
) -> ClusterSubmission:
    """Start the planned run on a cluster, or find it.

    Args:
        plan: what to run.
        client: of the API server.
        fresh: begin at step 0; what there was is kept beside it.
        force: a separate run, ``<run>-2``.
        resume_from: begin from the newest checkpoint of this other run.
        dry_run: have the server look at it, and create nothing.
        tell: takes a sentence when there is something to wait for.

    Raises:
        UsageError: the run goes on and cannot be begun afresh.
        ClusterError: the API server refuses.
    """
    submission.check_version(client)
    namespace = plan.resolved.spec.namespace or client.namespace
    bundle = plan.bundle
    if force:
        bundle = rendered_as(plan, _free_name(client, bundle.run, namespace))
    stamp = Stamp(
        time=time.time(), id=str(uuid.uuid4()), owner=submission.owner_of(client, namespace),
        fresh=fresh,
        resume_from=_store_of(client, plan, resume_from, namespace),
    )  # fmt: skip
    parts = Parts.of(bundle.to_dicts(), namespace, stamp)
    run = ClusterRun(client, bundle.run, namespace)
    if dry_run:
        return ClusterSubmission(run, "checked", submission.check_dry_run(client, parts))
    continued = False
    found = run.job()
    if found is not None:
        submission.check_ours(found, run.name)
        settled = _settle(client, parts, run, found, disturb=fresh or resume_from is not None)
        if settled and not (fresh and found.over):
            return settled
        continued = True
        submission.remove_ended(client, found, tell=tell, clock=time.monotonic)
    else:
        submission.wait_until_gone(client, run.name, namespace, tell=tell, clock=time.monotonic)
    warnings = submission.check_dry_run(client, parts)
    _, ours = submission.create(client, parts)
    if not ours:
        return ClusterSubmission(run, "attached", warnings)
    return ClusterSubmission(run, "continued" if continued else "started", warnings)


def rendered_as(plan: Plan, name: str) -> Bundle:
    """Return the plan's bundle under another name of the run."""
    task = plan.bundle.task
    return render(
        plan.bundle.spec, plan.placement, plan.archive, job=task.job, module=task.module,
        function=task.function, paths=task.paths, arguments=dict(plan.arguments),
        version=task.gpukit, run=name,
    )  # fmt: skip


def _settle(
    client: Client, parts: Parts, run: ClusterRun, job: JobState, *, disturb: bool
) -> ClusterSubmission | None:
    """Attach to a run that goes on, or show one that has finished; None: there is to be a new one.

    Raises:
        UsageError: it goes on and would be disturbed.
    """
    if job.phase == "succeeded":
        submission.complete(client, parts, job)
        return ClusterSubmission(run, "finished")
    if job.phase in ("failed", "stopping"):
        return None
    if disturb:
        raise UsageError(
            "run-goes-on", f"{run.name} is {job.phase}",
            f"wait for it, or `gpukit cancel {run.name}` first; --force makes a separate run",
        )  # fmt: skip
    if submission.complete(client, parts, job):
        return ClusterSubmission(run, "attached")
    return None  # half a run of another version of gpukit


def _free_name(client: Client, run: str, namespace: str) -> str:
    names = (f"{run}-{n}" for n in count(2))
    return next(name for name in names if client.get("Job", name, namespace) is None)


def _store_of(client: Client, plan: Plan, run: str | None, namespace: str) -> str | None:
    """Return where the pod finds the store of another run.

    Raises:
        UsageError: that run keeps its checkpoints in another place than this one.
    """
    if run is None:
        return None
    where = store_of(plan.placement.checkpoints, run)
    raw = client.get("Job", run, namespace)
    if raw is not None and JobState(raw).store != where:
        raise UsageError(
            "resume-elsewhere",
            f"{run} keeps its checkpoints in {JobState(raw).store}, and this job would look in "
            f"{where}",
            "give both the same checkpoints=",
        )
    return where
