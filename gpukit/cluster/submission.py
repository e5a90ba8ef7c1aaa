"""From a bundle to objects in the cluster: looked at first, created in an order that heals.

The Job comes before its code: everything else belongs to it, so that whatever a submit that was
killed has left goes with the Job, and the next submit of the same completes it. Until the
ConfigMap is there the pod waits.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpukit.contract import (
    ANNOTATION_SUBMISSION,
    ANNOTATION_SUBMITTED,
    CONTAINER,
    LABEL_MANAGED,
    LABEL_RUN,
    MANAGED_BY,
    Env,
)
from gpukit.errors import ClusterError, UsageError

from .client import Client, Object
from .errors import ApiError
from .state import JobState, PodState

__all__ = [
    "Parts", "Stamp", "check_dry_run", "check_ours", "check_version", "complete", "create",
    "own_code", "owner_of", "remove_ended", "wait_until_gone",
]  # fmt: skip

MINIMUM = (1, 31)
_STRATEGIC = "application/strategic-merge-patch+json"
_VITAL = ("successPolicy", "podFailurePolicy", "backoffLimitPerIndex", "maxFailedIndexes",
          "podReplacementPolicy", "completionMode")  # fmt: skip
_LEAVE_SECONDS = 90.0  # for pods that are told to leave, beside their grace
_POLL = 0.25


@dataclass(frozen=True)
class Stamp:
    """What belongs to one submission, and not to what is run.

    Attributes:
        time: unix seconds.
        id: tells this submission from another one of the same run.
        owner: tells the namespace from all others, see :func:`owner_of`.
        fresh: what the store has is to be set aside.
        resume_from: store of another run to begin from.
    """

    time: float
    id: str
    owner: str = ""
    fresh: bool = False
    resume_from: str | None = None


@dataclass(frozen=True)
class Parts:
    """The objects of one run, as they are sent.

    Attributes:
        code: the ConfigMap.
        job: the Job.
        claims: what outlives the Job.
    """

    code: Object
    job: Object
    claims: tuple[Object, ...] = ()

    @staticmethod
    def of(objects: Sequence[Object], namespace: str, stamp: Stamp) -> Parts:
        """Sort a bundle's objects, put them into ``namespace``, and stamp the Job."""
        placed = [
            {**o, "metadata": {**o["metadata"], "namespace": namespace}} for o in objects
        ]  # fmt: skip
        by_kind: dict[str, list[Object]] = {}
        for item in placed:
            by_kind.setdefault(item["kind"], []).append(item)
        return Parts(
            by_kind["ConfigMap"][0], _stamped(by_kind["Job"][0], stamp),
            tuple(by_kind.get("PersistentVolumeClaim", ())),
        )  # fmt: skip


def check_version(client: Client) -> None:
    """Refuse a server that does not know the attempt ladder.

    Raises:
        ClusterError: with the version, and what would go wrong.
    """
    version = client.version()
    if version < MINIMUM:
        raise ClusterError(
            "cluster-version",
            f"the cluster has Kubernetes {version[0]}.{version[1]}, gpukit needs "
            f"{MINIMUM[0]}.{MINIMUM[1]} or newer",
            "older servers drop the Job's successPolicy silently and would run it 1,000 times; "
            "upgrade the control plane, or run it with --local",
        )


def owner_of(client: Client, namespace: str) -> str:
    """Return what tells this namespace of this cluster from all others.

    Kubernetes puts a ConfigMap with the cluster's certificate into each namespace; its UID does.
    """
    root = client.get("ConfigMap", "kube-root-ca.crt", namespace)
    return str(root["metadata"]["uid"]) if root else f"{client.access.server}/{namespace}"


def check_dry_run(client: Client, parts: Parts) -> tuple[str, ...]:
    """Have the API server look at all objects, in strict mode; return its warnings.

    Raises:
        ClusterError: it refuses one, or would drop a part of the Job.
    """
    for item in (*parts.claims, parts.code):
        _exists_or_created(client, item, dry_run=True)
    seen = _exists_or_created(client, parts.job, dry_run=True)
    if seen is not None:
        _refuse_loss(parts.job, seen)
    return tuple(client.warnings)


def create(client: Client, parts: Parts) -> tuple[JobState, bool]:
    """Create what is not there; return the Job, and whether it is this submission's.

    Raises:
        ClusterError: the API server refuses an object, or dropped a part of the Job.
    """
    for claim in parts.claims:
        _exists_or_created(client, claim)
    made = _exists_or_created(client, parts.job)
    meta = parts.job["metadata"]
    if made is None:  # there is one: ours, of a request whose answer was lost, or another's
        made = client.get("Job", meta["name"], meta["namespace"])
    if made is None:  # and deleted again in this very moment
        return create(client, parts)
    job = JobState(made)
    ours = job.annotations.get(ANNOTATION_SUBMISSION) == meta["annotations"][ANNOTATION_SUBMISSION]
    if ours:
        try:
            _refuse_loss(parts.job, made)
        except ClusterError:
            client.delete("Job", job.name, job.namespace, uid=job.uid)
            raise
    complete(client, parts, job)
    return job, ours


def complete(client: Client, parts: Parts, job: JobState) -> bool:
    """Give a Job what a submit that was killed did not; tell whether it now has all it needs.

    A Job that another version of gpukit made needs other code than this one could give.
    """
    if job.over:  # it needs nothing any more, but its code has to go with it
        if job.code == parts.code["metadata"]["name"]:
            own_code(client, parts.code, [job], make=False)
        return True
    if job.code != parts.code["metadata"]["name"]:
        return client.get("ConfigMap", job.code, job.namespace) is not None
    for claim in parts.claims:
        _exists_or_created(client, claim)
    own_code(client, parts.code, [job])
    return True


def own_code(
    client: Client, code: Object, jobs: Sequence[JobState], *, make: bool = True
) -> None:  # fmt: skip
    """Have the ConfigMap belong to these Jobs too; with ``make``, make it where there is none."""
    meta = code["metadata"]
    owners = [_owner(job) for job in jobs]
    while True:
        there = client.get("ConfigMap", meta["name"], meta["namespace"])
        if there is None and not make:
            return
        if there is None:
            body = {**code, "metadata": {**meta, "ownerReferences": owners}}
            if _exists_or_created(client, body) is not None:
                return
            continue
        known = {o.get("uid") for o in there["metadata"].get("ownerReferences") or ()}
        missing = [owner for owner in owners if owner["uid"] not in known]
        if not missing:
            return
        try:
            change = {"metadata": {"ownerReferences": missing}}
            client.patch("ConfigMap", meta["name"], meta["namespace"], change, form=_STRATEGIC)
            return
        except ApiError as error:
            if error.status != 404:  # 404: its last Job has just gone, and it went with it
                raise


def remove_ended(
    client: Client, job: JobState, *, tell: Callable[[str], None], clock: Callable[[], float],
    sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Delete a Job that has ended and wait until neither it nor a pod of it is left.

    Raises:
        ClusterError: they do not go.
    """
    if job.phase != "stopping":
        client.delete("Job", job.name, job.namespace, uid=job.uid)
    wait_until_gone(client, job.name, job.namespace, tell=tell, clock=clock, sleep=sleep)


def wait_until_gone(
    client: Client, run: str, namespace: str, *, tell: Callable[[str], None],
    clock: Callable[[], float], sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Wait until no Job of this name that is being deleted, and no live pod of it, is left.

    Two pods never write one directory: a pod that was told to leave may still save.

    Raises:
        ClusterError: they do not go.
    """
    until, told = clock() + _LEAVE_SECONDS, False
    while True:
        raw = client.get("Job", run, namespace)
        leaving = raw is not None and JobState(raw).phase == "stopping"
        pods = [PodState(p) for p in client.list("Pod", namespace, labels=f"{LABEL_RUN}={run}")]
        living = [pod for pod in pods if not pod.over] if raw is None or leaving else []
        if not leaving and not living:
            return
        for pod in living:
            until = max(until, (pod.leaving or 0.0) + _LEAVE_SECONDS)
        if not told:
            told = True
            tell(f"waiting for {living[0].name if living else run} to leave")
        if clock() > until:
            what = f"pod {living[0].name} on {living[0].node}" if living else f"Job {run}"
            raise ClusterError(
                "run-leaving", f"{what} of an earlier submission does not go away",
                f"`gpukit why {run}` says why; submit again when it is gone",
            )  # fmt: skip
        sleep(_POLL)


def _exists_or_created(client: Client, body: Object, *, dry_run: bool = False) -> Object | None:
    """Create an object; None where there is one of that name."""
    try:
        return client.create(body, dry_run=dry_run)
    except ApiError as error:
        if error.reason == "AlreadyExists":
            return None
        raise


def check_ours(job: JobState, run: str) -> None:
    """Refuse to touch a Job that somebody else has made under a run's name.

    Raises:
        UsageError: whose it is.
    """
    if job.labels.get(LABEL_MANAGED) != MANAGED_BY or job.labels.get(LABEL_RUN) != run:
        raise UsageError(
            "run-not-ours", f"there is a Job {run} in {job.namespace} that gpukit has not made",
            "choose another name= for the job, or another namespace",
        )  # fmt: skip


def _stamped(job: Object, stamp: Stamp) -> Object:
    """Return the Job with what belongs to one submission in it."""
    body: Object = copy.deepcopy(job)
    notes = body["metadata"].setdefault("annotations", {})
    notes[ANNOTATION_SUBMITTED] = f"{stamp.time:.3f}"
    notes[ANNOTATION_SUBMISSION] = stamp.id
    env = {Env.SUBMITTED_AT: f"{stamp.time:.3f}"}
    env |= {Env.OWNER: stamp.owner} if stamp.owner else {}
    env |= {Env.FRESH: "1"} if stamp.fresh else {}
    env |= {Env.RESUME_FROM: stamp.resume_from} if stamp.resume_from else {}
    for container in body["spec"]["template"]["spec"]["containers"]:
        if container["name"] == CONTAINER:
            container["env"] += [{"name": k, "value": v} for k, v in env.items()]
    return body


def _owner(job: JobState) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid}


def _refuse_loss(sent: Object, got: Object) -> None:
    """Compare what the server keeps with what was sent: old servers drop fields silently."""
    kept = got.get("spec") or {}
    lost = [name for name in _VITAL if not _keeps(sent["spec"].get(name), kept.get(name))]
    if lost:
        raise ClusterError(
            "cluster-drops-fields",
            f"the API server drops or changes {', '.join(f'spec.{name}' for name in lost)} of the "
            "Job",
            "without it interrupted attempts are not followed by the next one; upgrade the "
            "control plane, or look for an admission webhook that rewrites Jobs",
        )


def _keeps(sent: object, got: object) -> bool:
    """Tell whether all of what was sent is there; the server may add defaults."""
    if isinstance(sent, Mapping):
        return isinstance(got, Mapping) and all(_keeps(v, got.get(k)) for k, v in sent.items())
    if isinstance(sent, list):
        if not isinstance(got, list) or len(got) != len(sent):
            return False
        return all(_keeps(*pair) for pair in zip(sent, got, strict=True))
    return sent is None or sent == got
