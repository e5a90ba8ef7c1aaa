"""Why a run does not run: the questions, in the order in which they are decided."""

from __future__ import annotations

from dataclasses import replace

from gpukit.catalog import Catalog, load_catalog
from gpukit.errors import UsageError, did_you_mean

from .case import Case, find_case
from .queues import suspended
from .refused import refused
from .snapshot import ClusterSnapshot
from .starting import on_a_node, silent_node
from .storage import claim_without_volume
from .times import span
from .unscheduled import unscheduled
from .verdict import Fix, Verdict

__all__ = ["is_doubtful", "state", "why"]


def why(snapshot: ClusterSnapshot, run: str, catalog: Catalog | None = None) -> Verdict | None:
    """Return the one dominant reason why a run does not run; None for a healthy one.

    A run that has ended, one that runs, and one that is about to start are healthy. Whoever
    follows a run calls it when a pod has been Pending for 10 s::

        from gpukit.cluster.snapshot import read_snapshot
        from gpukit.diagnose import why

        verdict = why(read_snapshot(run, namespace, context), run)

    and shows it with :func:`gpukit.cli.verdicts.show_verdict`, as :mod:`gpukit.cli.pending` does.
    A verdict that :func:`is_doubtful` counts only when a snapshot some seconds later says it too.

    Args:
        snapshot: what is seen of the cluster.
        run: name of the run, of its Job, or of a pod.
        catalog: the facts; default: those that gpukit has.

    Raises:
        UsageError: there is no such run in the snapshot.
    """
    case = _case(snapshot, run, catalog)
    if case.job is not None and case.job.ended is not None:
        return None
    for judge in (suspended, silent_node, on_a_node, refused, _without_node):
        verdict = judge(case)
        if verdict is not None:
            fixes = [
                _in_namespace(fix, snapshot.namespace) for fix in (verdict.fix, *verdict.others)
            ]
            return replace(verdict, fix=fixes[0], others=tuple(fixes[1:]))
    return None


_OF_THE_CLUSTER = frozenset(
    ("node", "nodes", "uncordon", "storageclass", "clusterqueue", "namespace", "priorityclass",
     "clusterrole", "validatingadmissionpolicy", "validatingwebhookconfigurations", "-A", "-n")
)  # fmt: skip
"""Words of commands that are about no namespace, or name one themselves."""


def _in_namespace(fix: Fix, namespace: str) -> Fix:
    if fix.kind != "kubectl" or _OF_THE_CLUSTER & set(fix.command):
        return fix
    return replace(fix, namespace=namespace)


def _without_node(case: Case) -> Verdict | None:
    if not _waits_for_node(case):
        return None
    return _gated(case) or claim_without_volume(case) or unscheduled(case)


def is_doubtful(verdict: Verdict) -> bool:
    """Tell whether the scheduler may just not have seen yet what the snapshot shows."""
    return verdict.id == "scheduler-refuses" and not verdict.waiting


def state(snapshot: ClusterSnapshot, run: str) -> str:
    """Return in a sentence where a run without a verdict stands.

    Raises:
        UsageError: there is no such run in the snapshot.
    """
    case = _case(snapshot, run, None)
    job, pod = case.job, case.pod
    if job is not None and job.ended is not None:
        kind, reason, words = job.ended
        detail = ": ".join(part for part in (reason, words) if part)
        return f"it has ended, {kind}" + (f" ({detail})" if detail else "")
    if pod is None:
        ended = next(iter(case.pods), None)
        before = f"; its last pod, {ended.name}, has {ended.phase.lower()}" if ended else ""
        return f"nothing stands in its way: the Job makes its next pod{before}"
    if not pod.node:
        return f"nothing stands in its way: {pod.name} is about to get a node"
    if pod.phase == "Pending":
        waits = span(case.waited)
        return (
            f"nothing stands in its way: {pod.name} starts on {pod.node}, {waits} after it was made"
        )
    since = snapshot.ago(pod.started)
    return f"it runs: {pod.name} on {pod.node}" + (f" for {span(since)}" if since else "")


def _case(snapshot: ClusterSnapshot, run: str, catalog: Catalog | None) -> Case:
    case = find_case(snapshot, run, catalog or load_catalog())
    if case is None:
        names = [job.name for job in snapshot.jobs]
        raise UsageError(
            "run-unknown", f"there is no run {run!r} in the namespace {snapshot.namespace}",
            did_you_mean(run, names, otherwise="`kubectl get jobs` lists them; --namespace names "
                         "another namespace"),
        )  # fmt: skip
    return case


def _waits_for_node(case: Case) -> bool:
    pod = case.pod
    return pod is not None and not pod.node and not pod.nominated and not pod.ended


def _gated(case: Case) -> Verdict | None:
    """Judge a pod that waits for somebody to lift a scheduling gate."""
    gates = case.pod.gates if case.pod else ()
    if not gates:
        return None
    return Verdict(
        "pod-gated", f"the pod waits for {', '.join(gates)} to be lifted",
        Fix("wait", "whoever set the gate lifts it; Kueue does so when there is quota"),
        (f"spec.schedulingGates: {', '.join(gates)}",), waiting=True,
    )  # fmt: skip
