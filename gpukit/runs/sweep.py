"""Many runs of one job: one archive, one look by the API server, then a Job for each point.

The Job of a point differs from that of the first in its name, its arguments and its store, so it is
made of it, and not rendered anew.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from gpukit.cluster import submission
from gpukit.cluster.client import Client, Object
from gpukit.cluster.errors import ApiError
from gpukit.cluster.state import JobState
from gpukit.cluster.submission import Parts, Stamp
from gpukit.contract import ANNOTATION_TASK, LABEL_RUN, LABEL_SWEEP, Env
from gpukit.errors import UsageError
from gpukit.manifests.storage import store_of
from gpukit.naming import json_digest, run_name
from gpukit.render import name_of_run
from gpukit.runtime.arguments import encode_arguments

from .cluster_run import ClusterRun
from .plan import Plan

__all__ = ["Sweep", "Variant", "grid", "release", "states", "submit_sweep", "variants"]

_REQUESTS = 8  # at a time


@dataclass(frozen=True)
class Variant:
    """One point of a sweep: the run's name, its arguments, and its Job."""

    run: str
    arguments: Mapping[str, Any]
    job: Object


@dataclass(frozen=True)
class Sweep:
    """What a submission of many led to.

    Attributes:
        name: of the sweep: ``gpukit list --sweep NAME``.
        runs: in the order of the points.
        made: how many of them are new; the others were there.
        warnings: of the API server.
    """

    name: str
    runs: tuple[ClusterRun, ...]
    made: int
    warnings: tuple[str, ...] = ()


def grid(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations, the last axis fastest."""
    return [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]  # fmt: skip


def variants(plan: Plan, points: Sequence[Mapping[str, Any]], parts: Parts) -> list[Variant]:
    """Return the Jobs of all points.

    Args:
        plan: of one of them.
        points: the function's arguments, by name.
        parts: the plan's objects, stamped.

    Raises:
        UsageError: two points have the same arguments.
    """
    task, found = plan.bundle.task, []
    for point in points:
        arguments = encode_arguments(plan.job.function, (), dict(point))
        run = name_of_run(
            plan.bundle.spec, plan.archive, job=task.job, module=task.module,
            function=task.function, arguments=arguments,
        )  # fmt: skip
        text = replace(task, run=run, arguments=arguments).to_json()
        store = store_of(plan.placement.checkpoints, run)
        found.append(Variant(run, arguments, _job(parts.job, run, text, store)))
    names = [variant.run for variant in found]
    if len(set(names)) < len(names):
        raise UsageError(
            "sweep-twice", "two points of the sweep have the same arguments", "name each value once"
        )
    return found


def submit_sweep(
    plan: Plan,
    client: Client,
    points: Sequence[Mapping[str, Any]],
    *,
    max_parallel: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Sweep:
    """Submit a run for each point; those that there are stay, those that failed go on.

    Args:
        plan: of one of the points: all share its code and its options.
        client: of the API server.
        points: the function's arguments, by name.
        max_parallel: how many may run at a time: the others are made suspended, and
            :func:`release` lets them begin.
        tell: takes a sentence when there is something to wait for.

    Raises:
        UsageError: the checkpoints are on a new volume, which one node has at a time.
        ClusterError: the API server refuses.
    """
    _check(plan, max_parallel)
    submission.check_version(client)
    namespace = plan.resolved.spec.namespace or client.namespace
    stamp = Stamp(time.time(), str(uuid.uuid4()), submission.owner_of(client, namespace))
    parts = Parts.of(plan.bundle.to_dicts(), namespace, stamp)
    wanted = variants(plan, points, parts)
    name = run_name(plan.bundle.task.job, json_digest(sorted(v.run for v in wanted)))
    jobs = [_labelled(variant.job, name) for variant in wanted]
    if max_parallel is not None:
        jobs = [*jobs[:max_parallel], *map(_suspended, jobs[max_parallel:])]
    submission.check_dry_run(client, replace(parts, job=jobs[0]))
    made = _create_all(client, parts, jobs, tell)
    runs = tuple(ClusterRun(client, variant.run, namespace) for variant in wanted)
    return Sweep(name, runs, sum(made), tuple(client.warnings))


def release(client: Client, namespace: str, sweep: str, max_parallel: int) -> None:
    """Let as many suspended runs of a sweep begin as may run at a time."""
    found = client.list("Job", namespace, labels=f"{LABEL_SWEEP}={sweep}")
    jobs = sorted(map(JobState, found), key=lambda job: job.name)
    going = sum(not job.over and job.phase != "suspended" for job in jobs)
    waiting = [job for job in jobs if job.phase == "suspended"]
    for job in waiting[: max(max_parallel - going, 0)]:
        client.patch("Job", job.name, namespace, {"spec": {"suspend": False}})


def states(client: Client, namespace: str, sweep: Sweep) -> list[JobState]:
    """Return the Jobs of a sweep that there are; runs that were there before belong to it too."""
    label = f"{LABEL_SWEEP}={sweep.name}"
    jobs = {job.name: job for job in map(JobState, client.list("Job", namespace, labels=label))}
    for run in sweep.runs:
        if run.name not in jobs and (job := run.job()) is not None:
            jobs[run.name] = job
    return list(jobs.values())


def _create_all(
    client: Client, parts: Parts, jobs: Sequence[Object], tell: Callable[[str], None]
) -> list[bool]:
    """Create the first Job with its code, then the others; then all of them own the code."""
    first, ours = _create(client, jobs[0], tell)
    submission.own_code(client, parts.code, [first])
    with ThreadPoolExecutor(_REQUESTS) as pool:
        rest = list(pool.map(lambda job: _create(client, job, tell), jobs[1:]))
    all_of_them = [first, *(job for job, _ in rest)]
    mine = [job for job in all_of_them if job.code == parts.code["metadata"]["name"]]
    submission.own_code(client, parts.code, mine)
    return [ours, *(made for _, made in rest)]


def _create(
    client: Client, body: Object, tell: Callable[[str], None]
) -> tuple[JobState, bool]:  # fmt: skip
    """Create a Job, or find it; one that has failed is followed by a new one."""
    meta = body["metadata"]
    while True:
        try:
            return JobState(client.create(body)), True
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        raw = client.get("Job", meta["name"], meta["namespace"])
        if raw is None:
            continue
        job = JobState(raw)
        submission.check_ours(job, meta["name"])
        if job.phase not in ("failed", "stopping"):
            return job, False
        submission.remove_ended(client, job, tell=tell, clock=time.monotonic)


def _check(plan: Plan, max_parallel: int | None) -> None:
    where = plan.placement.checkpoints
    if where is not None and where.kind == "new":
        raise UsageError(
            "sweep-new-volume",
            f"checkpoints={where} is one volume of one node: the runs of a sweep would wait for "
            "each other",
            'give the job checkpoints="s3://bucket/path", or a claim that several nodes can mount: '
            '"pvc:NAME"',
        )
    if max_parallel is not None and plan.resolved.spec.queue:
        raise UsageError(
            "sweep-queue", "--max-parallel beside queue=: the queue says how many run at a time",
            "drop --max-parallel",
        )  # fmt: skip


def _job(first: Object, run: str, task: str, store: str) -> Object:
    """Return the first point's Job with another name, task and store."""
    template = first["spec"]["template"]
    pod = template["spec"]
    names = {LABEL_RUN: run, "app.kubernetes.io/instance": run}
    containers = [
        {**c, "env": [{**e, "value": store} if e["name"] == Env.STORE else e for e in c["env"]]}
        if any(e["name"] == Env.STORE for e in c.get("env") or ())
        else c
        for c in pod["containers"]
    ]
    meta, inner = first["metadata"], template["metadata"]
    return {
        **first,
        "metadata": {**meta, "name": run, "labels": {**meta["labels"], **names}},
        "spec": {
            **first["spec"],
            "template": {
                "metadata": {
                    **inner,
                    "labels": {**inner["labels"], **names},
                    "annotations": {**inner["annotations"], ANNOTATION_TASK: task},
                },
                "spec": {**pod, "containers": containers},
            },
        },
    }


def _labelled(job: Object, sweep: str) -> Object:
    meta = job["metadata"]
    return {**job, "metadata": {**meta, "labels": {**meta["labels"], LABEL_SWEEP: sweep}}}


def _suspended(job: Object) -> Object:
    return {**job, "spec": {**job["spec"], "suspend": True}}
