"""Reading objects, as the API server sends them, into the snapshot's models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from .amounts import amount, amounts
from .shapes import is_native, node_terms, read_shape
from .snapshot import (
    ClaimFacts,
    ClassFacts,
    ContainerFacts,
    EventFacts,
    JobFacts,
    NodeTerm,
    PodFacts,
    QueueFacts,
    QuotaFacts,
    Requirement,
    VolumeFacts,
    WorkloadFacts,
)
from .times import seconds_of

__all__ = [
    "read_claim", "read_class", "read_event", "read_job", "read_pod", "read_queue", "read_quota",
    "read_volume", "read_workload",
]  # fmt: skip

_Json = Mapping[str, Any]
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def read_pod(pod: _Json) -> PodFacts:
    """Return the facts of a Pod."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    scheduled = _condition(status, "PodScheduled")
    owner: _Json = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), {})
    return PodFacts(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        shape=read_shape(spec),
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        phase=status.get("phase") or "Pending",
        node=spec.get("nodeName") or "",
        nominated=status.get("nominatedNodeName") or "",
        owner=(owner.get("kind", ""), owner.get("name", "")),
        created=seconds_of(meta.get("creationTimestamp")),
        started=seconds_of(status.get("startTime")),
        deleted=seconds_of(meta.get("deletionTimestamp")),
        scheduled=_said(scheduled),
        judged=seconds_of(scheduled.get("lastTransitionTime")),
        containers=tuple(_containers(spec, status)),
        deadline=spec.get("activeDeadlineSeconds"),
        gates=tuple(g["name"] for g in spec.get("schedulingGates") or ()),
    )


def read_job(job: _Json) -> JobFacts:
    """Return the facts of a Job."""
    meta, spec, status = job["metadata"], job.get("spec") or {}, job.get("status") or {}
    ends = (_condition(status, kind) for kind in ("Complete", "Failed"))
    ended = next((e for e in ends if e.get("status") == "True"), None)
    return JobFacts(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=meta.get("uid", ""),
        shape=read_shape((spec.get("template") or {}).get("spec") or {}),
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        suspended=bool(spec.get("suspend")),
        created=seconds_of(meta.get("creationTimestamp")),
        ended=None if ended is None else (ended["type"], *_said(ended)[1:]),
    )


def read_event(event: _Json) -> EventFacts:
    """Return the facts of an Event of core/v1."""
    about, series = event.get("involvedObject") or {}, event.get("series") or {}
    moments = (
        series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"),
        event.get("firstTimestamp"), (event.get("metadata") or {}).get("creationTimestamp"),
    )  # fmt: skip
    return EventFacts(
        kind=about.get("kind", ""),
        name=about.get("name", ""),
        uid=about.get("uid", ""),
        reason=event.get("reason") or "",
        message=(event.get("message") or "").strip(),
        source=event.get("reportingComponent") or (event.get("source") or {}).get("component", ""),
        seen=next((seconds_of(m) for m in moments if m), None),
        count=int(series.get("count") or event.get("count") or 1),
    )


def read_claim(claim: _Json) -> ClaimFacts:
    """Return the facts of a PersistentVolumeClaim."""
    meta, spec, status = claim["metadata"], claim.get("spec") or {}, claim.get("status") or {}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return ClaimFacts(
        name=meta["name"],
        phase=status.get("phase") or "Pending",
        volume=spec.get("volumeName") or "",
        storage_class=spec.get("storageClassName"),
        modes=tuple(spec.get("accessModes") or ()),
        size=amount("storage", storage),
        deleted="deletionTimestamp" in meta,
    )


def read_volume(volume: _Json) -> VolumeFacts:
    """Return the facts of a PersistentVolume."""
    spec = volume.get("spec") or {}
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    return VolumeFacts(
        name=volume["metadata"]["name"],
        phase=(volume.get("status") or {}).get("phase") or "",
        terms=node_terms(required.get("nodeSelectorTerms")),
        storage_class=spec.get("storageClassName") or "",
        modes=tuple(spec.get("accessModes") or ()),
        size=amount("storage", (spec.get("capacity") or {}).get("storage", "0")),
    )


def read_class(item: _Json) -> ClassFacts:
    """Return the facts of a StorageClass."""
    meta = item["metadata"]
    return ClassFacts(
        name=meta["name"],
        provisioner=item.get("provisioner", ""),
        late=item.get("volumeBindingMode") == "WaitForFirstConsumer",
        default=(meta.get("annotations") or {}).get(_DEFAULT_CLASS) == "true",
        topologies=tuple(
            NodeTerm(tuple(
                Requirement(str(e["key"]), "In", tuple(e.get("values") or ()))
                for e in term.get("matchLabelExpressions") or ()
            ))
            for term in item.get("allowedTopologies") or ()
        ),
    )  # fmt: skip


def read_quota(quota: _Json) -> QuotaFacts:
    """Return the facts of a ResourceQuota; the status has both what may be used and what is."""
    status = quota.get("status") or {}
    hard = status.get("hard") or (quota.get("spec") or {}).get("hard")
    return QuotaFacts(quota["metadata"]["name"], amounts(hard), amounts(status.get("used")))


def read_queue(queue: _Json) -> QueueFacts:
    """Return the facts of a LocalQueue of Kueue."""
    status = queue.get("status") or {}
    active = _condition(status, "Active")
    return QueueFacts(
        name=queue["metadata"]["name"],
        cluster_queue=str((queue.get("spec") or {}).get("clusterQueue", "")),
        active={"True": True, "False": False}.get(active.get("status", "")),
        words=active.get("message") or "",
        pending=status.get("pendingWorkloads"),
    )


def read_workload(workload: _Json) -> WorkloadFacts:
    """Return the facts of a Workload of Kueue."""
    meta, status = workload["metadata"], workload.get("status") or {}
    owners = meta.get("ownerReferences") or [{}]
    return WorkloadFacts(
        name=meta["name"],
        owner_uid=owners[0].get("uid", ""),
        conditions={
            c["type"]: (c.get("status", ""), c.get("message") or "")
            for c in status.get("conditions") or ()
        },
    )


def _condition(status: _Json, kind: str) -> _Json:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), {})


def _said(condition: _Json) -> tuple[str, str, str]:
    return (
        condition.get("status") or "",
        condition.get("reason") or "",
        condition.get("message") or "",
    )


def _containers(spec: _Json, status: _Json) -> Iterator[ContainerFacts]:
    native = {c["name"] for c in spec.get("initContainers") or () if is_native(c)}
    groups: Iterable[Any] = (
        *(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())
    )  # fmt: skip
    for item in groups:
        kind, detail = _state(item.get("state") or {})
        yield ContainerFacts(
            name=item["name"],
            image=item.get("image", ""),
            state=kind,
            reason=detail.get("reason") or "",
            message=(detail.get("message") or "").strip(),
            exit_code=detail.get("exitCode"),
            ended=seconds_of(detail.get("finishedAt")),
            native=item["name"] in native,
        )


def _state(state: _Json) -> tuple[Literal["", "waiting", "running", "terminated"], _Json]:
    if "waiting" in state:
        return "waiting", state["waiting"] or {}
    if "running" in state:
        return "running", state["running"] or {}
    if "terminated" in state:
        return "terminated", state["terminated"] or {}
    return "", {}
