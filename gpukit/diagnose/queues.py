"""Verdicts on a Job that is suspended: by a queue, or by a person."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from .case import Case
from .snapshot import JobFacts, QueueFacts, WorkloadFacts
from .verdict import Fix, Verdict, kubectl, options, wait

__all__ = ["suspended"]

_QUEUE = "kueue.x-k8s.io/queue-name"
_EMPTY: Mapping[str, tuple[str, str]] = {}
_PATIENCE = 10.0  # seconds that Kueue has for its first word


def suspended(case: Case) -> Verdict | None:
    """Return why the Job is held back; None where it is not suspended."""
    job = case.job
    if job is None or not job.suspended or job.ended:
        return None
    queue = job.labels.get(_QUEUE)
    if queue is None:
        return Verdict(
            "suspended", "the Job is suspended: it makes no pods until somebody resumes it",
            _resume(job), ("spec.suspend is true, and no queue is named",),
        )  # fmt: skip
    return _in_queue(case, job, queue)


def _resume(job: JobFacts) -> Fix:
    return kubectl(
        "resume it", "patch", "job", job.name, "--type=merge", "-p", '{"spec":{"suspend":false}}',
        admin=False,
    )  # fmt: skip


def _in_queue(case: Case, job: JobFacts, name: str) -> Verdict | None:
    queues = case.snapshot.queues
    if not case.snapshot.saw("queues"):
        return Verdict(
            "queued", f"the Job waits in the queue {name!r}, which may not be read",
            wait("Kueue resumes it when there is quota"), waiting=True,
        )  # fmt: skip
    if queues is None:
        return Verdict(
            "queue-without-kueue",
            f"the Job waits for the queue {name!r}, and there is no Kueue to resume it",
            _resume(job), ("no API group kueue.x-k8s.io",),
            (options("without a queue", queue=None),),
        )  # fmt: skip
    queue = next((q for q in queues if q.name == name), None)
    if queue is None:
        return _no_queue(case, name, [q.name for q in queues])
    if queue.active is False:
        return _stopped(queue, [q.name for q in queues if q.active])
    own = [w for w in case.snapshot.workloads if w.owner_uid == job.uid]
    return _workload(case, queue, own[0] if own else None)


def _no_queue(case: Case, name: str, there: list[str]) -> Verdict:
    near = next(iter(difflib.get_close_matches(name, there, 1, 0.0)), None)
    evidence = (f"queues that are there: {', '.join(sorted(there)) or 'none'}",)
    fix = options("a queue that is there", queue=near) if near else options("no queue", queue=None)
    return Verdict(
        "queue-missing",
        f"there is no LocalQueue {name!r} in {case.snapshot.namespace}",
        fix,
        evidence,
    )


def _stopped(queue: QueueFacts, others: list[str]) -> Verdict:
    see = kubectl("see why", "describe", "clusterqueue", queue.cluster_queue)
    fix = options("a queue that admits", queue=sorted(others)[0]) if others else see
    return Verdict(
        "queue-stopped", f"the queue {queue.name!r} admits nothing",
        fix, (f"ClusterQueue {queue.cluster_queue}: {queue.words}",), (see,) if others else (),
    )  # fmt: skip


def _workload(case: Case, queue: QueueFacts, workload: WorkloadFacts | None) -> Verdict | None:
    conditions = workload.conditions if workload else _EMPTY
    if conditions.get("Admitted", ("", ""))[0] == "True":
        return None
    status, words = conditions.get("QuotaReserved", ("", ""))
    waiting = f"; {queue.pending} wait in it" if queue.pending is not None else ""
    if status == "True":
        checks = conditions.get("Admitted", ("", ""))[1] or "its admission checks are not done"
        return Verdict(
            "queued", "the Job has its quota and waits for an admission check",
            wait("Kueue resumes it when the checks are done"), (checks,), waiting=True,
        )  # fmt: skip
    if not words and case.waited < _PATIENCE:
        return None
    evidence = (f"ClusterQueue {queue.cluster_queue}{waiting}", *((words,) if words else ()))
    if "unavailable in ClusterQueue" in words or "not found" in words:
        return Verdict(
            "queue-lacks-resource", f"the queue {queue.name!r} has no quota of what is asked for",
            kubectl("give it one of that resource", "edit", "clusterqueue", queue.cluster_queue),
            evidence, tuple(_elsewhere(case, queue)),
        )  # fmt: skip
    if "insufficient quota" in words and "maximum capacity" in words:
        return Verdict(
            "queue-too-small", f"the job asks for more than the queue {queue.name!r} ever has",
            kubectl("raise its nominalQuota", "edit", "clusterqueue", queue.cluster_queue),
            evidence,
            tuple(_elsewhere(case, queue)),
        )  # fmt: skip
    return Verdict(
        "queued", f"the Job waits in the queue {queue.name!r} until there is quota",
        wait("Kueue resumes it when others end; a higher priority= may come first"), evidence,
        tuple(_elsewhere(case, queue)), waiting=True,
    )  # fmt: skip


def _elsewhere(case: Case, queue: QueueFacts) -> list[Fix]:
    others = [
        q for q in case.snapshot.queues or () if q.name != queue.name and q.active is not False
    ]
    least = min(others, key=lambda q: (q.pending or 0, q.name), default=None)
    return [options("another queue", queue=least.name)] if least else []
