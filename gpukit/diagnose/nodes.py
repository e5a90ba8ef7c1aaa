"""The part of a Node object that placement and diagnosis need, read from plain JSON data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .amounts import amounts
from .times import seconds_of

__all__ = ["GPU_PREFIX", "NodeFacts", "NodeTaint", "read_node"]

GPU_PREFIX = "nvidia.com/"
_GPU_LABELS = (
    "nvidia.com/gpu.present", "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name",
)  # fmt: skip


@dataclass(frozen=True)
class NodeTaint:
    """A taint as a node has it."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return (
            f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"
        )


@dataclass(frozen=True)
class NodeFacts:
    """What a node is and offers.

    Attributes:
        name: of the node.
        labels: all of them.
        provider: ``spec.providerID``, which begins with the cloud.
        allocatable: what pods may ask for: millicores, bytes, pods, devices.
        taints: all of them.
        cordoned: no new pods are wanted (``spec.unschedulable``).
        ready: what the node's condition Ready says; None where nobody knows: it is silent.
        since: when that began, unix seconds; None where it is not said.
    """

    name: str
    labels: Mapping[str, str]
    provider: str
    allocatable: Mapping[str, int] = field(default_factory=dict)
    taints: tuple[NodeTaint, ...] = ()
    cordoned: bool = False
    ready: bool | None = True
    since: float | None = None

    @property
    def devices(self) -> dict[str, int]:
        """Allocatable devices of NVIDIA, by resource name, those with a count above 0."""
        return {
            name: count
            for name, count in self.allocatable.items()
            if name.startswith(GPU_PREFIX) and count > 0
        }

    @property
    def has_gpu(self) -> bool:
        """Tell whether it has a GPU, or will when its device plugin is up."""
        return bool(self.devices) or any(label in self.labels for label in _GPU_LABELS)


def read_node(node: Mapping[str, Any]) -> NodeFacts:
    """Return the facts of a Node object as the API server sends it; what is absent is empty."""
    metadata, spec = node.get("metadata") or {}, node.get("spec") or {}
    status = node.get("status") or {}
    conditions = status.get("conditions") or ()
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    says = "True" if ready is None else ready.get("status")
    return NodeFacts(
        name=str(metadata.get("name", "")),
        labels=dict(metadata.get("labels") or {}),
        provider=str(spec.get("providerID") or ""),
        allocatable=amounts(status.get("allocatable")),
        taints=tuple(
            NodeTaint(str(t.get("key")), str(t.get("value") or ""), str(t.get("effect")))
            for t in spec.get("taints") or ()
        ),
        cordoned=bool(spec.get("unschedulable")),
        ready={"True": True, "False": False}.get(str(says)),
        since=seconds_of((ready or {}).get("lastTransitionTime")),
    )
