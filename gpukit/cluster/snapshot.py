"""Reading what diagnosis needs of a cluster: paged, at once, and only that.

What may not be read becomes a gap of the snapshot, with the API server's words. Of Secrets only
their existence is asked for: no value is ever sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from gpukit.contract import LABEL_RUN
from gpukit.diagnose.nodes import read_node
from gpukit.diagnose.read import (
    read_claim,
    read_class,
    read_event,
    read_job,
    read_pod,
    read_queue,
    read_quota,
    read_volume,
    read_workload,
)
from gpukit.diagnose.snapshot import (
    ClusterSnapshot,
    Gap,
    JobFacts,
    PodFacts,
    QueueFacts,
    WorkloadFacts,
)

from .errors import ApiError

if TYPE_CHECKING:
    from .client import Client, Object

__all__ = ["read_snapshot", "read_surroundings"]

T = TypeVar("T")

_THREADS = 6
_JOB_NAME = "batch.kubernetes.io/job-name"
_LIVE = "status.phase!=Succeeded,status.phase!=Failed"
_KUEUE = "v1beta1"
_NEWEST = 3  # pods of a run whose events are read


def read_snapshot(
    run: str, namespace: str | None = None, context: str | None = None, client: Client | None = None
) -> ClusterSnapshot:
    """Return what is seen of the cluster around one run.

    Args:
        run: name of the run.
        namespace: of the run; default: that of the context.
        context: of the kubeconfig; default: the current one.
        client: a client that is there already.

    Raises:
        ClusterError: no cluster is configured, it does not answer, or does not know us.
    """
    from .client import connect

    return _Reader(client or connect(context), run, namespace).read()


def read_surroundings(client: Client, namespace: str) -> ClusterSnapshot:
    """Return what is seen of the cluster from a namespace, without any run.

    Raises:
        ClusterError: see :func:`read_snapshot`.
    """
    return _Reader(client, "", namespace).read()


class _Reader:
    """Reads around one run, and collects what may not be read."""

    def __init__(self, client: Client, run: str, namespace: str | None) -> None:
        self.client, self.run = client, run
        self.namespace = namespace or client.namespace
        self.gaps: list[Gap] = []

    def read(self) -> ClusterSnapshot:
        space = self.namespace
        jobs = self._jobs()
        with ThreadPoolExecutor(_THREADS) as pool:
            others = pool.submit(self._pods_elsewhere)
            own = pool.submit(self._all, "pods of the namespace", "Pod", space, read_pod)
            nodes = pool.submit(self._all, "nodes", "Node", None, read_node)
            claims = pool.submit(self._all, "claims", "PersistentVolumeClaim", space, read_claim)
            volumes = pool.submit(self._all, "volumes", "PersistentVolume", None, read_volume)
            classes = pool.submit(self._all, "classes", "StorageClass", None, read_class)
            quotas = pool.submit(self._all, "quotas", "ResourceQuota", space, read_quota)
            priorities = pool.submit(self._priorities)
            kueue = pool.submit(self._kueue)
            pods = (*own.result(), *others.result())
            mine = self._of_run(jobs, own.result())
            events = pool.submit(self._events, jobs, mine)
            missing = pool.submit(self._missing, mine)
            secrets, accounts = missing.result()[1], self._accounts(events.result())
            return ClusterSnapshot(
                namespace=space,
                taken=time.time(),
                nodes=nodes.result(),
                pods=pods,
                jobs=jobs,
                events=events.result(),
                claims=claims.result(),
                volumes=volumes.result(),
                classes=classes.result(),
                quotas=quotas.result(),
                labels=self._labels(),
                priorities=priorities.result(),
                queues=kueue.result()[0],
                workloads=kueue.result()[1],
                missing=missing.result()[0],
                secrets=secrets,
                accounts=accounts,
                gaps=tuple(self.gaps),
            )

    def _allowed(self, what: str, ask: Callable[[], T], otherwise: T) -> T:
        """Return what is asked for; where it is forbidden, note the gap."""
        try:
            return ask()
        except ApiError as error:
            if error.status != 403:
                raise
            self.gaps.append(Gap(what, error.message))
            return otherwise

    def _all(
        self, what: str, kind: str, namespace: str | None, read: Callable[[Object], T],
        fields: str = "",
    ) -> tuple[T, ...]:  # fmt: skip
        def ask() -> tuple[T, ...]:
            return tuple(read(item) for item in self.client.list(kind, namespace, fields=fields))

        return self._allowed(what, ask, ())

    def _jobs(self) -> tuple[JobFacts, ...]:
        """Return the run's Job; all of the namespace where there is none, to say what was meant."""
        if not self.run:
            return ()
        found = self.client.get("Job", self.run, self.namespace)
        if found is not None:
            return (read_job(found),)
        named = self.client.list("Job", self.namespace, labels=f"{LABEL_RUN}={self.run}")
        items = named or self.client.list("Job", self.namespace)
        return tuple(read_job(item) for item in items)

    def _pods_elsewhere(self) -> tuple[PodFacts, ...]:
        fields = f"{_LIVE},metadata.namespace!={self.namespace}"
        return self._all("pods", "Pod", None, read_pod, fields)

    def _of_run(self, jobs: Iterable[JobFacts], pods: Iterable[PodFacts]) -> list[PodFacts]:
        names = {job.name for job in jobs}
        own = [
            pod for pod in pods
            if pod.name == self.run or (len(names) == 1 and pod.labels.get(_JOB_NAME) in names)
        ]  # fmt: skip
        return sorted(own, key=lambda pod: pod.created or 0.0, reverse=True)

    def _events(self, jobs: tuple[JobFacts, ...], pods: list[PodFacts]) -> tuple[Any, ...]:
        about = [("Job", job.name) for job in jobs if len(jobs) == 1]
        about += [("Pod", pod.name) for pod in pods[:_NEWEST]]
        claims = {claim for pod in pods[:1] for claim in pod.shape.claims}
        about += [("PersistentVolumeClaim", claim) for claim in sorted(claims)]
        found: list[Any] = []
        for kind, name in about:
            fields = f"involvedObject.kind={kind},involvedObject.name={name}"
            found += self._all("events", "Event", self.namespace, read_event, fields)
        return tuple(found)

    def _missing(self, pods: list[PodFacts]) -> tuple[frozenset[tuple[str, str]], tuple[str, ...]]:
        """Look for the Secrets and ConfigMaps of a pod that has a node and has not started."""
        waits = next((pod for pod in pods if pod.node and pod.phase == "Pending"), None)
        if waits is None:
            return frozenset(), ()
        gone = {
            (reference.kind, reference.name)
            for reference in waits.shape.references
            if not self._allowed(
                f"{reference.kind} {reference.name}",
                lambda r=reference: self.client.exists(r.kind, r.name, self.namespace),  # type: ignore[misc]
                True,
            )
        }
        names: list[str] = []
        if any(kind == "Secret" for kind, _ in gone):
            names = sorted(self._names("secrets", "Secret"))
        return frozenset(gone), tuple(names)

    def _accounts(self, events: Iterable[Any]) -> tuple[str, ...]:
        if not any("serviceaccount" in event.message for event in events):
            return ()
        return tuple(self._names("accounts", "ServiceAccount"))

    def _names(self, what: str, kind: str) -> list[str]:
        nothing: list[str] = []
        return self._allowed(what, lambda: self.client.names(kind, self.namespace), nothing)

    def _labels(self) -> dict[str, str]:
        found = self._allowed(
            "namespace", lambda: self.client.get("Namespace", self.namespace), None
        )
        return dict(((found or {}).get("metadata") or {}).get("labels") or {})

    def _priorities(self) -> dict[str, int]:
        def read(item: Object) -> tuple[str, int]:
            return str(item["metadata"]["name"]), int(item.get("value") or 0)

        return dict(self._all("priorities", "PriorityClass", None, read))

    def _kueue(self) -> tuple[tuple[QueueFacts, ...] | None, tuple[WorkloadFacts, ...]]:
        """Return the queues and workloads; None for no Kueue.

        Discovery comes first: everybody may ask for it, and without a right on a kind that is not
        there the answer would be "forbidden".
        """
        try:
            found = self.client.read("/apis/kueue.x-k8s.io", "look for Kueue")
        except ApiError as error:
            if error.status in (403, 404):
                return None, ()
            raise
        if _KUEUE not in {version["version"] for version in found.get("versions") or ()}:
            self.gaps.append(Gap("queues", f"this Kueue does not serve {_KUEUE}"))
            return (), ()
        queues = self._all("queues", "LocalQueue", self.namespace, read_queue)
        return queues, self._all("workloads", "Workload", self.namespace, read_workload)
