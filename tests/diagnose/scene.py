"""Snapshots as the API server's objects give them: a rendered job, nodes, and what happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from gpukit.diagnose import ClusterSnapshot, Verdict, read_node, why
from gpukit.diagnose.read import read_claim, read_class, read_event, read_job, read_pod, read_volume
from tests.nodes import node
from tests.samples import bundle, job_of

__all__ = ["A100_SLICES", "NOW", "RUN", "Scene", "gpu_node", "holder", "stamp"]

Json = dict[str, Any]
NOW = 1_795_428_000.0
RUN = "train"
_UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}


def stamp(ago: float = 0.0) -> str:
    """Return a time so many seconds before the snapshot, as the API server writes it."""
    moment = datetime.fromtimestamp(NOW - ago, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def gpu_node(
    name: str, product: str, devices: Mapping[str, int], *, taints: Iterable[Json] = (),
    cpu: str = "8", memory: str = "64Gi", **labels: str,
) -> Json:  # fmt: skip
    """Return a node of the GPU Operator."""
    own = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.present": "true",
           "kubernetes.io/hostname": name}  # fmt: skip
    extra = {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    made = node(name, {**own, **extra}, dict(devices), taints=taints, cpu=cpu, memory=memory)
    made["status"]["allocatable"]["pods"] = "110"
    return made


A100_SLICES = gpu_node(
    "rack-1", "NVIDIA-A100-SXM4-80GB", {"nvidia.com/mig-2g.20gb": 3, "nvidia.com/mig-3g.40gb": 1},
    nvidia_com__mig_strategy="mixed",
)  # fmt: skip


def holder(name: str, on: str, requests: Mapping[str, str], **more: Any) -> Json:
    """Return a running pod of another namespace."""
    metadata = {"name": name, "namespace": "team-b", "creationTimestamp": stamp(7200)}
    container = {"name": "main", "resources": {"requests": dict(requests)}}
    spec = {"containers": [container], "nodeName": on, **more.pop("spec", {})}
    status = {"phase": "Running", "startTime": stamp(7200)}
    return {"metadata": {**metadata, **more}, "spec": spec, "status": status}


class Scene:
    """A rendered job in a cluster; changed by a test, then judged."""

    def __init__(self, *nodes: Json, **options: Any) -> None:
        self.options = {"profile": "mig-1g.10gb", **options}
        self.nodes = list(nodes)
        self.job = job_of(bundle(nodes=self.nodes, **self.options))
        self.job["metadata"] |= {"namespace": "ml", "name": RUN, "uid": "job-1",
                                 "creationTimestamp": stamp(30)}  # fmt: skip
        self.pods: list[Json] = [self._pod()]
        self.others: list[Json] = []
        self.events: list[Json] = []
        self.claims: list[Json] = []
        self.volumes: list[Json] = []
        self.classes: list[Json] = []
        self.facts: dict[str, Any] = {}

    def _pod(self) -> Json:
        template = self.job["spec"]["template"]
        owner = {"kind": "Job", "name": RUN, "controller": True}
        named = {"name": "train-0-abcde", "namespace": "ml", "uid": "pod-1"}
        metadata = {**template["metadata"], **named, "ownerReferences": [owner],
                    "creationTimestamp": stamp(30)}  # fmt: skip
        condition = {**_UNSCHEDULABLE, "message": "0/1 nodes are available",
                     "lastTransitionTime": stamp(30)}  # fmt: skip
        return {"metadata": metadata, "spec": dict(template["spec"]),
                "status": {"phase": "Pending", "conditions": [condition]}}  # fmt: skip

    @property
    def pod(self) -> Json:
        """The run's newest pod."""
        return self.pods[0]

    def bound(self, name: str, *statuses: Json, phase: str = "Pending") -> Scene:
        """Give the pod a node, and its containers a state."""
        self.pod["spec"]["nodeName"] = name
        self.pod["status"] = {"phase": phase, "startTime": stamp(60),
                              "containerStatuses": list(statuses)}  # fmt: skip
        return self

    def refused(self, words: str) -> Scene:
        """Have the API server refuse the Job's pods."""
        self.pods = []
        return self.event("FailedCreate", words, about=("Job", RUN, "job-1"))

    def event(
        self, reason: str, words: str, *, about: tuple[str, str, str] | None = None,
        source: str = "", ago: float = 5.0,
    ) -> Scene:  # fmt: skip
        """Add an event, of the pod if not said otherwise."""
        kind, name, uid = about or ("Pod", "train-0-abcde", "pod-1")
        self.events.append({
            "involvedObject": {"kind": kind, "name": name, "uid": uid}, "reason": reason,
            "message": words, "source": {"component": source}, "lastTimestamp": stamp(ago),
        })  # fmt: skip
        return self

    def snapshot(self) -> ClusterSnapshot:
        """Return what is seen."""
        found = ClusterSnapshot(
            namespace="ml",
            taken=NOW,
            nodes=tuple(read_node(n) for n in self.nodes),
            pods=tuple(read_pod(p) for p in (*self.pods, *self.others)),
            jobs=(read_job(self.job),),
            events=tuple(read_event(e) for e in self.events),
            claims=tuple(read_claim(c) for c in self.claims),
            volumes=tuple(read_volume(v) for v in self.volumes),
            classes=tuple(read_class(c) for c in self.classes),
        )
        return replace(found, **self.facts)

    def verdict(self) -> Verdict | None:
        """Return what is said of it."""
        return why(self.snapshot(), RUN)

    def sure(self) -> Verdict:
        """Return what is said; fail where nothing is."""
        found = self.verdict()
        assert found is not None
        return found
