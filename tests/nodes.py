"""Node objects with the labels, taints and capacity that each platform's nodes really have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["NODES", "node"]


def node(
    name: str,
    labels: dict[str, str],
    devices: dict[str, int] | None = None,
    provider: str = "",
    *,
    taints: Iterable[dict[str, str]] = (),
    cpu: str = "8",
    memory: str = "64Gi",
) -> dict[str, Any]:
    """Return a Node object as the API server sends it."""
    counts = {resource: str(count) for resource, count in (devices or {}).items()}
    spec: dict[str, Any] = {"providerID": provider} if provider else {}
    if tainted := list(taints):
        spec["taints"] = tainted
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": "amd64", **labels}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, **counts}},
    }


_H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.present": "true"}
_TYPE = "node.kubernetes.io/instance-type"
_REGION = "topology.kubernetes.io/region"
_GPU = {"nvidia.com/gpu": 8}

NODES: dict[str, dict[str, Any]] = {
    "generic": node("rack-1", {**_H100, "nvidia.com/mig.strategy": "mixed"}, _GPU),
    "generic-single": node(
        "rack-2",
        {
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
            "nvidia.com/mig.strategy": "single",
            "nvidia.com/gpu.slices.gi": "1",
        },
        {"nvidia.com/gpu": 56},
    ),
    "eks": node(
        "ip-10-0-1-7.ec2.internal",
        {
            **_H100, _TYPE: "p5.48xlarge", _REGION: "us-west-2",
            "eks.amazonaws.com/nodegroup": "gpus", "eks.amazonaws.com/capacityType": "SPOT",
        },
        _GPU, "aws:///us-west-2a/i-0123456789abcdef0",
    ),
    "karpenter": node(
        "ip-10-0-2-8.ec2.internal",
        {
            _TYPE: "p5.48xlarge", "karpenter.sh/nodepool": "gpu",
            "karpenter.sh/capacity-type": "spot", "karpenter.k8s.aws/instance-gpu-name": "h100",
            "karpenter.k8s.aws/instance-gpu-memory": "81920",
        },
        _GPU, "aws:///us-east-1a/i-0123456789abcdef1",
    ),
    "eks-auto": node(
        "i-0123456789abcdef2",
        {
            _TYPE: "p5.48xlarge", "karpenter.sh/nodepool": "gpu",
            "karpenter.sh/capacity-type": "spot", "eks.amazonaws.com/compute-type": "auto",
            "eks.amazonaws.com/instance-gpu-name": "h100",
            "eks.amazonaws.com/instance-gpu-memory": "81920",
        },
        _GPU, "aws:///us-east-1a/i-0123456789abcdef2",
    ),
    "gke": node(
        "gke-main-gpus-1234",
        {
            _TYPE: "a3-highgpu-8g", "cloud.google.com/gke-nodepool": "gpus",
            "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
            "cloud.google.com/gke-spot": "true",
        },
        _GPU, "gce://project/us-central1-a/gke-main-gpus-1234",
    ),
    "gke-autopilot": node(
        "gk3-main-nap-1234",
        {
            "cloud.google.com/gke-nodepool": "nap-1",
            "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
            "cloud.google.com/gke-spot": "true",
        },
        _GPU, "gce://project/us-central1-a/gk3-main-nap-1234",
    ),
    "aks": node(
        "aks-gpus-1234-vmss000000",
        {
            _TYPE: "Standard_ND96isr_H100_v5", "kubernetes.azure.com/cluster": "MC_a_b_eastus",
            "kubernetes.azure.com/scalesetpriority": "spot", "accelerator": "nvidia",
        },
        _GPU, "azure:///subscriptions/0000",
    ),
    "oke": node(
        "10.0.10.5",
        {_TYPE: "BM.GPU.H100.8", "oci.oraclecloud.com/oke-is-preemptible": "true"},
        _GPU, "ocid1.instance.oc1.iad.abc",
    ),
}  # fmt: skip
