"""The verdict on devices, CPU or memory that others hold: who, and until when."""

from __future__ import annotations

from collections.abc import Sequence

from .amounts import show
from .case import Case, task_of
from .filters import Obstacle
from .groups import NodeView
from .nodes import GPU_PREFIX
from .profiles import free_now
from .sizes import fitting
from .snapshot import PodFacts
from .times import span
from .verdict import Fix, Verdict, wait

__all__ = ["held", "latest_end"]

_SHOWN = 4


def held(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    """Return the verdict that all of what is asked for is taken."""
    found = [o for view in nearest for o in view.causes["taken"]]
    devices = [o for o in found if o.resource.startswith(GPU_PREFIX)]
    resource = (devices or found)[0].resource
    of_it = [o for o in found if o.resource == resource]
    holders = _holders(case, of_it)
    total, free = sum(o.total for o in of_it), sum(o.free for o in of_it)
    asked = of_it[0].asked
    evidence = [
        f"asked for on one node: {show(resource, asked)}; free now: {show(resource, free)} of "
        f"{show(resource, total)} on {len(of_it)} node{'s' * (len(of_it) != 1)} that would fit",
        *(_line(case, pod, resource) for pod in holders[:_SHOWN]),
    ]
    if len(holders) > _SHOWN:
        evidence.append(f"and {len(holders) - _SHOWN} more pods")
    if not case.snapshot.saw("pods"):
        evidence.append("pods of other namespaces may not be read, so they are not counted")
    ends = [e for pod in holders if (e := latest_end(pod)) is not None]
    if ends:
        until = f"the next is free in {span(min(ends) - case.snapshot.taken)} at the latest"
    else:
        until = "none of them says when it ends"
    others = tuple(f for f in (free_now(case), None if devices else fitting(case, views)) if f)
    patience = wait(f"the pod starts when one is free: {until}")
    fix: Fix = patience
    if not devices and others:  # a free GPU beside which the CPUs are taken
        fix, others = others[-1], (*others[:-1], patience)
    return Verdict(f"{_kind(resource)}-taken", f"all {resource} that would fit is taken", fix,
                   tuple(evidence), others, waiting=fix is patience)  # fmt: skip


def _kind(resource: str) -> str:
    return "gpu" if resource.startswith(GPU_PREFIX) else resource.rpartition("/")[2]


def _holders(case: Case, found: Sequence[Obstacle]) -> list[PodFacts]:
    pods = [
        pod for o in found for pod in case.used(o.node).pods if pod.shape.requests.get(o.resource)
    ]  # fmt: skip
    resource = found[0].resource
    return sorted(pods, key=lambda pod: (-pod.shape.requests[resource], pod.title))


def _line(case: Case, pod: PodFacts, resource: str) -> str:
    since = case.snapshot.ago(pod.started or pod.created)
    run = pod.labels.get("gpukit.dev/run")
    who = f"{pod.namespace}/{run or pod.owner[1] or pod.name}"
    held_for = f" for {span(since)}" if since is not None else ""
    count = show(resource, pod.shape.requests[resource])
    return f"{who} holds {count} on {pod.node}{held_for}"


def latest_end(pod: PodFacts) -> float | None:
    """Return by when a pod ends at the latest, unix seconds; None where nothing says so.

    By the deadline of the pod, or the running time that gpukit's runtime gives the whole run.
    """
    began = pod.started or pod.created
    if began is None:
        return None
    limits = [float(pod.deadline)] if pod.deadline else []
    timeout = task_of(pod).get("timeout")
    if isinstance(timeout, int):
        limits.append(float(timeout))
    return began + min(limits) if limits else None
