"""The part of a Node object that placement needs, read from plain JSON data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["GPU_PREFIX", "NodeFacts", "read_node"]

GPU_PREFIX = "nvidia.com/"
_GPU_LABELS = (
    "nvidia.com/gpu.present", "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name", "eks.amazonaws.com/instance-gpu-name",
)  # fmt: skip


@dataclass(frozen=True)
class NodeFacts:
    """What a node is and offers.

    Attributes:
        name: of the node.
        labels: all of them.
        provider: ``spec.providerID``, which begins with the cloud.
        devices: allocatable devices of NVIDIA, by resource name, those with a count above 0.
    """

    name: str
    labels: Mapping[str, str]
    provider: str
    devices: Mapping[str, int]

    @property
    def has_gpu(self) -> bool:
        """Tell whether it has a GPU, or will when its device plugin is up."""
        return bool(self.devices) or any(label in self.labels for label in _GPU_LABELS)


def read_node(node: Mapping[str, Any]) -> NodeFacts:
    """Return the facts of a Node object as the API server sends it; what is absent is empty."""
    metadata, spec = node.get("metadata") or {}, node.get("spec") or {}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    devices = {
        name: count
        for name, amount in allocatable.items()
        if name.startswith(GPU_PREFIX) and (count := _count(amount)) > 0
    }
    return NodeFacts(
        name=str(metadata.get("name", "")),
        labels=dict(metadata.get("labels") or {}),
        provider=str(spec.get("providerID") or ""),
        devices=devices,
    )


def _count(amount: object) -> int:
    """Return a whole quantity; the API server writes 8 as "8", and only thousands as "1k"."""
    text = str(amount)
    thousands = text.endswith("k")
    digits = text.removesuffix("k")
    return int(digits) * (1000 if thousands else 1) if digits.isdigit() else 0
