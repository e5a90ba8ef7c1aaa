"""Pods in manifests, whatever makes them: what they ask for, where they must run, what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gpukit.catalog import Catalog

from .documents import Manifest, dig, listing, mapping
from .model import Needs, Steps

__all__ = ["Context", "GpuRequest", "Requirement", "SpotKind", "Workload", "workloads_of"]

_GPU = re.compile(r"(nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/)")
_TEMPLATES: dict[str, Steps] = {
    "Pod": (),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("Job", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController",
         "Notebook"), ("spec", "template"),
    ),
}  # fmt: skip
_JOBS: dict[str, Steps] = {"Job": ("spec",), "CronJob": ("spec", "jobTemplate", "spec")}
_REPLICAS = {"PyTorchJob": "pytorchReplicaSpecs", "TFJob": "tfReplicaSpecs",
             "MPIJob": "mpiReplicaSpecs"}  # fmt: skip
_SYSTEM = ("kube-system", "gpu-operator", "nvidia-gpu-operator", "gpu-resources", "monitoring")
_STAGES = ("environment", "env", "stage", "tier")


@dataclass(frozen=True)
class SpotKind:
    """A label of spot nodes, and how much of its notice reaches a pod there, at most."""

    value: str
    provider: str
    seconds: int


SPOT = {
    # documentation of EKS, Karpenter, GKE (15 s unless the node's system configuration extends it,
    # to 120 s at most), AKS and OKE (no number there)
    "eks.amazonaws.com/capacityType": SpotKind("SPOT", "EC2", 120),
    "karpenter.sh/capacity-type": SpotKind("spot", "EC2", 120),
    "cloud.google.com/gke-spot": SpotKind("true", "GKE", 120),
    "cloud.google.com/gke-provisioning": SpotKind("spot", "GKE", 120),
    "kubernetes.azure.com/scalesetpriority": SpotKind("spot", "AKS", 30),
    "oci.oraclecloud.com/oke-is-preemptible": SpotKind("true", "OKE", 120),
}


@dataclass(frozen=True)
class Requirement:
    """A condition on the node's labels that must be met."""

    key: str
    operator: str
    values: tuple[str, ...]
    at: Steps


@dataclass(frozen=True)
class GpuRequest:
    """A device resource that a container asks for."""

    container: Steps
    resource: str
    limit: str | None
    request: str | None


@dataclass(frozen=True)
class Context:
    """What a check may know beside its object: all objects, the facts, what was measured."""

    catalog: Catalog
    manifests: tuple[Manifest, ...] = ()
    needs: Needs = field(default_factory=Needs)


@dataclass(frozen=True)
class Workload:
    """A pod, or what makes pods.

    Attributes:
        manifest: the object.
        template: the way to the pod template; empty for a Pod.
        job: the way to the spec of the Job that ends; None for what has no end of its own.
    """

    manifest: Manifest
    template: Steps
    job: Steps | None = None

    @property
    def root(self) -> Mapping[str, Any]:
        """The object."""
        return self.manifest.data

    @property
    def spec_at(self) -> Steps:
        """The way to the PodSpec."""
        return (*self.template, "spec")

    @property
    def spec(self) -> Mapping[str, Any]:
        """The PodSpec."""
        return mapping(dig(self.root, *self.spec_at))

    @property
    def job_spec(self) -> Mapping[str, Any]:
        """The spec of the Job; empty where there is none."""
        return mapping(dig(self.root, *self.job)) if self.job is not None else {}

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the pods."""
        found = mapping(dig(self.root, *self.template, "metadata", "labels"))
        return {str(key): str(value) for key, value in found.items()}

    @property
    def annotations(self) -> dict[str, str]:
        """Annotations of the pods."""
        found = mapping(dig(self.root, *self.template, "metadata", "annotations"))
        return {str(key): str(value) for key, value in found.items()}

    @property
    def is_system(self) -> bool:
        """Whether it belongs to the cluster itself: such pods sit on GPU nodes without a GPU."""
        critical = str(self.spec.get("priorityClassName", "")).startswith("system-")
        return self.manifest.kind == "DaemonSet" or critical or self.manifest.namespace in _SYSTEM

    @cached_property
    def containers(self) -> list[tuple[Steps, Mapping[str, Any]]]:
        """The containers, without those that run before them and end."""
        return [
            ((*self.spec_at, part, index), mapping(container))
            for part in ("containers", "initContainers")
            for index, container in enumerate(listing(self.spec.get(part)))
            if part == "containers" or mapping(container).get("restartPolicy") == "Always"
        ]

    @cached_property
    def gpus(self) -> list[GpuRequest]:
        """Every GPU, slice or share that a container asks for."""
        return list(self._gpus())

    def _gpus(self) -> Iterator[GpuRequest]:
        for part in ("containers", "initContainers"):
            for index, container in enumerate(listing(self.spec.get(part))):
                limits = mapping(dig(container, "resources", "limits"))
                requests = mapping(dig(container, "resources", "requests"))
                for name in dict.fromkeys([*limits, *requests]):
                    asked = [_text(limits.get(name)), _text(requests.get(name))]
                    if _GPU.match(str(name)) and any(a not in (None, "0") for a in asked):
                        yield GpuRequest((*self.spec_at, part, index), str(name), *asked)

    @property
    def claims_devices(self) -> bool:
        """Whether it gets devices by dynamic resource allocation."""
        return bool(self.spec.get("resourceClaims"))

    @cached_property
    def requires(self) -> list[Requirement]:
        """The conditions that every node for it must meet."""
        at: Steps = (*self.spec_at, "nodeSelector")
        found = [
            Requirement(str(key), "In", (str(value),), (*at, key))
            for key, value in mapping(self.spec.get("nodeSelector")).items()
        ]
        at = (*self.spec_at, "affinity", "nodeAffinity",
              "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")  # fmt: skip
        terms = listing(dig(self.root, *at))
        if len(terms) == 1:  # several are alternatives of one another
            for index, term in enumerate(listing(dig(terms[0], "matchExpressions"))):
                values = tuple(str(value) for value in listing(dig(term, "values")))
                found.append(
                    Requirement(
                        str(dig(term, "key")), str(dig(term, "operator")), values,
                        (*at, 0, "matchExpressions", index),
                    )
                )  # fmt: skip
        return found

    def requires_key(self, *prefixes: str) -> Requirement | None:
        """Return the first required label whose key begins so, and that must be there."""
        positive = (r for r in self.requires if r.operator in ("In", "Exists", "Gt", "Lt"))
        return next((r for r in positive if r.key.startswith(prefixes)), None)

    @property
    def spot(self) -> Requirement | None:
        """The condition by which it runs on spot nodes only."""
        for required in self.requires:
            kind = SPOT.get(required.key)
            if kind and required.operator == "In" and set(required.values) == {kind.value}:
                return required
        return None

    @property
    def stage(self) -> str:
        """``production``, ``development`` or nothing, by its labels and its namespace."""
        labels = {key.rpartition("/")[2].lower(): value for key, value in self.labels.items()}
        words = [labels[key].lower() for key in _STAGES if key in labels]
        space = self.manifest.namespace.lower()
        if space:
            words += [space.partition("-")[0], space.rpartition("-")[2]]
        if any(word in ("prod", "production", "live") for word in words):
            return "production"
        if any(word in ("dev", "development", "sandbox") for word in words):
            return "development"
        return ""

    def env(self) -> Iterator[tuple[Steps, str, str]]:
        """Return the literal variables of all containers: way to the value, name, value."""
        for at, container in self.containers:
            for index, item in enumerate(listing(container.get("env"))):
                name, value = dig(item, "name"), dig(item, "value")
                if isinstance(name, str) and isinstance(value, str):
                    yield (*at, "env", index, "value"), name, value

    def words(self) -> Iterator[tuple[Steps, str]]:
        """Return every word of the command lines of all containers."""
        for at, container in self.containers:
            for part in ("command", "args"):
                for index, word in enumerate(listing(container.get(part))):
                    if isinstance(word, str):
                        yield (*at, part, index), word


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def workloads_of(manifest: Manifest) -> list[Workload]:
    """Return what makes pods in an object; nothing for other kinds."""
    if manifest.kind in _TEMPLATES:
        return [Workload(manifest, _TEMPLATES[manifest.kind], _JOBS.get(manifest.kind))]
    spec = mapping(manifest.data.get("spec"))
    if manifest.kind == "JobSet":
        jobs = range(len(listing(spec.get("replicatedJobs"))))
        inner: Steps = ("template", "spec", "template")
        return [Workload(manifest, ("spec", "replicatedJobs", i, *inner)) for i in jobs]
    part = _REPLICAS.get(manifest.kind)
    if part is None:
        return []
    return [
        Workload(manifest, ("spec", part, role, "template")) for role in mapping(spec.get(part))
    ]
