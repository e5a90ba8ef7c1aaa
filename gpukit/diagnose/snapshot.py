"""What is seen of a cluster at one moment: frozen, typed, only what diagnosis reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .nodes import NodeFacts

__all__ = [
    "ClaimFacts", "ClassFacts", "ClusterSnapshot", "ContainerFacts", "EventFacts", "Gap",
    "JobFacts", "NodeTerm", "PodFacts", "PodShape", "QueueFacts", "QuotaFacts", "Reference",
    "Requirement", "TolerationFacts", "VolumeFacts", "WorkloadFacts",
]  # fmt: skip


@dataclass(frozen=True)
class Gap:
    """Something that could not be read: what, and the API server's words."""

    what: str
    words: str


@dataclass(frozen=True)
class Requirement:
    """One condition on a node's labels, as core/v1 NodeSelectorRequirement."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeTerm:
    """Conditions that a node must meet all of: on its labels, and on its name."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class TolerationFacts:
    """A taint that does not keep the pod away."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


@dataclass(frozen=True)
class Reference:
    """A Secret or ConfigMap that the pod cannot start without.

    Attributes:
        kind: which of them.
        name: its name.
        key: the key in it, where only one is used.
        variable: the environment variable that it fills, if it does.
    """

    kind: Literal["Secret", "ConfigMap"]
    name: str
    key: str = ""
    variable: str = ""


@dataclass(frozen=True)
class PodShape:
    """What a pod asks for: the same for a pod and for the template of its Job.

    Attributes:
        requests: effective, init containers and overhead included.
        selector: ``nodeSelector``.
        terms: required node affinity: a node meets one of them; empty for none.
        tolerations: all of them.
        claims: names of PersistentVolumeClaims.
        references: Secrets and ConfigMaps without which no container starts.
        images: of all containers, by container.
        containers: names of the containers that the pod waits for.
        scheduler: whose pod it is.
        host: what it wants of the host, in the words of PodSecurity's "baseline".
        beyond: what else a filter of the scheduler may refuse that is not computed here.
    """

    requests: Mapping[str, int]
    selector: Mapping[str, str] = field(default_factory=dict)
    terms: tuple[NodeTerm, ...] = ()
    tolerations: tuple[TolerationFacts, ...] = ()
    claims: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()
    scheduler: str = "default-scheduler"
    host: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainerFacts:
    """What the kubelet says of one container.

    Attributes:
        name: of the container.
        image: that it runs.
        state: where it stands; empty while nothing is said of it.
        reason: one word, such as ``ImagePullBackOff``.
        message: what else is said.
        exit_code: how it ended; None while it has not.
        ended: when that was, unix seconds.
        native: a sidecar that Kubernetes itself ends (an init container that restarts).
    """

    name: str
    image: str = ""
    state: Literal["", "waiting", "running", "terminated"] = ""
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    ended: float | None = None
    native: bool = False


@dataclass(frozen=True)
class PodFacts:
    """A pod.

    Attributes:
        namespace, name, uid: which.
        shape: what it asks for.
        labels, annotations: all of them.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        node: where it is bound; empty where it is not.
        nominated: where the scheduler makes room for it; empty for nowhere.
        owner: kind and name of its controller.
        created, started: unix seconds.
        deleted: when it is to be gone, unix seconds; None where nobody deletes it.
        scheduled: the condition PodScheduled: status, reason, message; empty before the scheduler
            has looked.
        judged: when the scheduler last changed that.
        containers: what the kubelet says.
        deadline: ``activeDeadlineSeconds`` of the pod.
        gates: scheduling gates that are not lifted yet.
    """

    namespace: str
    name: str
    uid: str
    shape: PodShape
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    phase: str = "Pending"
    node: str = ""
    nominated: str = ""
    owner: tuple[str, str] = ("", "")
    created: float | None = None
    started: float | None = None
    deleted: float | None = None
    scheduled: tuple[str, str, str] = ("", "", "")
    judged: float | None = None
    containers: tuple[ContainerFacts, ...] = ()
    deadline: int | None = None
    gates: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Tell whether it holds nothing any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def title(self) -> str:
        """Namespace and name, as in ``team-a/train-0``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class JobFacts:
    """A Job.

    Attributes:
        namespace, name, uid: which.
        shape: of the pods that it makes.
        labels, annotations: all of them.
        suspended: it makes no pods for now.
        created: unix seconds.
        ended: the condition that ended it: type, reason, message; None while it goes on.
    """

    namespace: str
    name: str
    uid: str
    shape: PodShape
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    suspended: bool = False
    created: float | None = None
    ended: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class EventFacts:
    """An event: about whom, who says it, what, and when it was last so."""

    kind: str
    name: str
    uid: str
    reason: str
    message: str
    source: str = ""
    seen: float | None = None
    count: int = 1


@dataclass(frozen=True)
class ClaimFacts:
    """A PersistentVolumeClaim of the namespace.

    Attributes:
        name: which.
        phase: Pending, Bound or Lost.
        volume: name of the volume that it is bound to; empty for none.
        storage_class: its class; None where none is named, so that the default one counts.
        modes: access modes.
        size: bytes.
        deleted: it is being deleted.
    """

    name: str
    phase: str
    volume: str = ""
    storage_class: str | None = None
    modes: tuple[str, ...] = ()
    size: int = 0
    deleted: bool = False


@dataclass(frozen=True)
class VolumeFacts:
    """A PersistentVolume: where it can be used, and whether it is free."""

    name: str
    phase: str
    terms: tuple[NodeTerm, ...] = ()
    storage_class: str = ""
    modes: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True)
class ClassFacts:
    """A StorageClass.

    Attributes:
        name: which.
        provisioner: who makes its volumes; ``kubernetes.io/no-provisioner`` for nobody.
        late: the volume is chosen when the pod is scheduled.
        default: claims that name no class have it.
        topologies: where its volumes can be made; empty for anywhere.
    """

    name: str
    provisioner: str
    late: bool = False
    default: bool = False
    topologies: tuple[NodeTerm, ...] = ()


@dataclass(frozen=True)
class QuotaFacts:
    """A ResourceQuota: what may be used and what is, by resource."""

    name: str
    hard: Mapping[str, int]
    used: Mapping[str, int]


@dataclass(frozen=True)
class QueueFacts:
    """A LocalQueue of Kueue.

    Attributes:
        name: which.
        cluster_queue: that it leads to.
        active: whether workloads are admitted from it; None where nobody says.
        words: why it is not.
        pending: workloads that wait in it; None where nobody says.
    """

    name: str
    cluster_queue: str
    active: bool | None = None
    words: str = ""
    pending: int | None = None


@dataclass(frozen=True)
class WorkloadFacts:
    """A Workload of Kueue: whose, and its conditions by type, each with status and message."""

    name: str
    owner_uid: str
    conditions: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class ClusterSnapshot:
    """What is seen of a cluster at one moment, from one namespace.

    Attributes:
        namespace: whose Jobs, events, claims and quotas these are.
        taken: when, unix seconds.
        nodes: all nodes.
        pods: of all namespaces, or of this one only (then ``gaps`` says so).
        jobs, events, claims, quotas: of the namespace.
        volumes, classes: of the cluster.
        labels: of the namespace.
        priorities: value of each PriorityClass.
        queues: LocalQueues; None where the cluster has no Kueue.
        workloads: of the namespace.
        missing: kind and name of each Secret and ConfigMap that was looked for and is not there.
        secrets: names of the Secrets of the namespace, where these may be listed.
        accounts: names of the service accounts of the namespace, where these may be listed.
        gaps: what could not be read.
    """

    namespace: str
    taken: float
    nodes: tuple[NodeFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    jobs: tuple[JobFacts, ...] = ()
    events: tuple[EventFacts, ...] = ()
    claims: tuple[ClaimFacts, ...] = ()
    volumes: tuple[VolumeFacts, ...] = ()
    classes: tuple[ClassFacts, ...] = ()
    quotas: tuple[QuotaFacts, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    priorities: Mapping[str, int] = field(default_factory=dict)
    queues: tuple[QueueFacts, ...] | None = None
    workloads: tuple[WorkloadFacts, ...] = ()
    missing: frozenset[tuple[str, str]] = frozenset()
    secrets: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()

    def saw(self, what: str) -> bool:
        """Tell whether something could be read."""
        return all(gap.what != what for gap in self.gaps)

    def ago(self, moment: float | None) -> float | None:
        """Return the seconds since a moment; None where it is unknown."""
        return None if moment is None else self.taken - moment
