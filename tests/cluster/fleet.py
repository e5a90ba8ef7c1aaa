"""The GPU nodes that a cluster of each platform may have: right ones and ones to be avoided.

Labels, taints and resources are written down here from what the platforms document, not taken from
gpukit's catalog: they are what its selectors are judged by. A node's name says what it is:
``KIND-spot`` or ``KIND-demand``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.nodes import node

__all__ = ["KINDS", "PLATFORMS", "fleet"]

Labels = dict[str, str]
_TYPE = "node.kubernetes.io/instance-type"
_GPU, _SHARED, _SLICE = "nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb"
_STRATEGY = "nvidia.com/gpu.sharing-strategy"
_PRESENT = {"key": _GPU, "value": "present", "effect": "NoSchedule"}

KINDS = ("whole", "slices", "shares")
"""What jobs of tests/golden/platforms.py ask for: H100s, MIG slices of an A100, shared GPUs."""


@dataclass(frozen=True)
class _Platform:
    """What all GPU nodes of a platform have.

    Attributes:
        labels: of every node.
        spot, demand: labels by the kind of capacity.
        machines: labels of the machine, by GPU.
        taints: of every GPU node; ``spot_taints`` of those on spot capacity.
        strategy: how MIG slices are offered: mixed, single, partition, none.
        feature_discovery: whether the labels of GPU Feature Discovery are there.
        shared: the GPU that is shared.
    """

    labels: Labels
    spot: Labels
    demand: Labels
    machines: dict[str, Labels]
    taints: tuple[dict[str, str], ...] = ()
    spot_taints: tuple[dict[str, str], ...] = ()
    strategy: str = "mixed"
    feature_discovery: bool = True
    shared: str = "a10g"
    provider: str = ""
    decoys: tuple[str, ...] = ("other", "shared-h100", "sliced-h100")
    more: Labels = field(default_factory=dict)


_PRODUCTS = {
    "h100": "NVIDIA-H100-80GB-HBM3", "a100": "NVIDIA-A100-SXM4-80GB", "t4": "Tesla-T4",
    "a10g": "NVIDIA-A10G", "l4": "NVIDIA-L4", "a10": "NVIDIA-A10",
}  # fmt: skip


def _typed(**types: str) -> dict[str, Labels]:
    return {gpu: {_TYPE: name} for gpu, name in types.items()}


def _ec2(prefix: str) -> dict[str, Labels]:
    """Return the labels by which Karpenter (and Auto Mode, under its own prefix) tells GPUs."""
    known = {
        "h100": ("p5.48xlarge", "h100", "81920"), "a100": ("p4de.24xlarge", "a100", "81920"),
        "t4": ("g4dn.12xlarge", "t4", "16384"), "a10g": ("g5.12xlarge", "a10g", "22888"),
    }  # fmt: skip
    return {
        gpu: {_TYPE: kind, f"{prefix}/instance-gpu-name": name,
              f"{prefix}/instance-gpu-memory": memory}
        for gpu, (kind, name, memory) in known.items()
    }  # fmt: skip


def _accelerators() -> dict[str, Labels]:
    names = {"h100": "nvidia-h100-80gb", "a100": "nvidia-a100-80gb", "t4": "nvidia-tesla-t4",
             "l4": "nvidia-l4"}  # fmt: skip
    return {gpu: {"cloud.google.com/gke-accelerator": name} for gpu, name in names.items()}


_GKE_SPOT = {"cloud.google.com/gke-spot": "true", "cloud.google.com/gke-provisioning": "spot"}
_GKE_DEMAND = {"cloud.google.com/gke-provisioning": "standard"}
_GKE_SPOT_TAINT = {"key": "cloud.google.com/gke-spot", "value": "true", "effect": "NoSchedule"}
_BARE = _Platform(
    labels={"nvidia.com/gpu.present": "true"},
    spot={"karpenter.sh/capacity-type": "spot"},
    demand={},
    machines=_typed(h100="hgx", a100="dgx", t4="old", a10g="cloud"),
    taints=(_PRESENT,),
)
_EKS = _Platform(
    labels={"eks.amazonaws.com/nodegroup": "gpus"},
    spot={"eks.amazonaws.com/capacityType": "SPOT"},
    demand={"eks.amazonaws.com/capacityType": "ON_DEMAND"},
    machines=_typed(h100="p5.48xlarge", a100="p4de.24xlarge", t4="g4dn.12xlarge",
                    a10g="g5.12xlarge"),
    taints=({"key": _GPU, "value": "true", "effect": "NoSchedule"},),
    provider="aws:///us-east-1a/i-0",
)  # fmt: skip
_KARPENTER = _Platform(
    labels={"karpenter.sh/nodepool": "gpu"},
    spot={"karpenter.sh/capacity-type": "spot"},
    demand={"karpenter.sh/capacity-type": "on-demand"},
    machines=_ec2("karpenter.k8s.aws"),
    taints=({"key": _GPU, "effect": "NoSchedule"},),
    provider="aws:///us-east-1a/i-0",
)
_GKE = _Platform(
    labels={"cloud.google.com/gke-nodepool": "gpus"},
    spot=_GKE_SPOT,
    demand=_GKE_DEMAND,
    machines=_accelerators(),
    taints=(_PRESENT,),
    spot_taints=(_GKE_SPOT_TAINT,),
    strategy="partition",
    feature_discovery=False,
    shared="l4",
    provider="gce://project/us-central1-a/node",
)

PLATFORMS: dict[str, _Platform] = {
    "generic": _BARE,
    "generic-single": _Platform(
        _BARE.labels, _BARE.spot, _BARE.demand, _BARE.machines, _BARE.taints, strategy="single"
    ),
    "eks": _EKS,
    "karpenter": _KARPENTER,
    "eks-auto": _Platform(
        labels={"karpenter.sh/nodepool": "gpu", "eks.amazonaws.com/compute-type": "auto"},
        spot=_KARPENTER.spot,
        demand=_KARPENTER.demand,
        machines=_ec2("eks.amazonaws.com"),
        taints=({"key": _GPU, "effect": "NoSchedule"},),
        strategy="none",
        feature_discovery=False,
        shared="",
        provider="aws:///us-east-1a/i-0",
        decoys=("other",),
    ),
    "gke": _GKE,
    # Autopilot makes a node for a pod, so no other pod's node is there to land on by mistake.
    "gke-autopilot": _Platform(
        labels={"cloud.google.com/gke-nodepool": "nap-1"},
        spot=_GKE_SPOT,
        demand=_GKE_DEMAND,
        machines=_accelerators(),
        taints=(_PRESENT,),
        spot_taints=(_GKE_SPOT_TAINT,),
        strategy="partition",
        feature_discovery=False,
        shared="l4",
        provider="gce://project/us-central1-a/gk3-node",
        decoys=("other",),
    ),
    "aks": _Platform(
        labels={"kubernetes.azure.com/cluster": "MC_a_b_eastus", "accelerator": "nvidia"},
        spot={"kubernetes.azure.com/scalesetpriority": "spot"},
        demand={"kubernetes.azure.com/scalesetpriority": "regular"},
        machines=_typed(h100="Standard_ND96isr_H100_v5", a100="Standard_ND96amsr_A100_v4",
                        t4="Standard_NC16as_T4_v3"),
        taints=({"key": "sku", "value": "gpu", "effect": "NoSchedule"},),
        spot_taints=({"key": "kubernetes.azure.com/scalesetpriority", "value": "spot",
                      "effect": "NoSchedule"},),
        shared="t4",
        provider="azure:///subscriptions/0",
    ),
    "oke": _Platform(
        labels={"oci.oraclecloud.com/node.info": "pool"},
        spot={"oci.oraclecloud.com/oke-is-preemptible": "true"},
        demand={},
        machines=_typed(h100="BM.GPU.H100.8", a100="BM.GPU.A100-v2.8", t4="BM.GPU.T4",
                        a10="BM.GPU.A10.4"),
        taints=(_PRESENT,),
        spot_taints=({"key": "oci.oraclecloud.com/oke-is-preemptible", "effect": "NoSchedule"},),
        shared="a10",
        provider="ocid1.instance.oc1.iad.0",
    ),
}  # fmt: skip


def fleet(platform: str) -> list[dict[str, Any]]:
    """Return a platform's nodes: each kind on spot and on demand, decoys, and one without GPU."""
    facts = PLATFORMS[platform]
    found = [node("cpu-demand", {**facts.labels, **facts.demand, _TYPE: "small"}, cpu="64")]
    for kind, gpu, labels, devices in _kinds(facts):
        for capacity, own, taints in (
            ("spot", facts.spot, facts.taints + facts.spot_taints),
            ("demand", facts.demand, facts.taints),
        ):
            whole = {**facts.labels, **own, **facts.machines[gpu], **labels}
            found.append(
                node(
                    f"{kind}-{capacity}", whole, devices, f"{facts.provider}-{kind}",
                    taints=taints, cpu="64", memory="1900Gi",
                )
            )  # fmt: skip
    return found


def _kinds(facts: _Platform) -> Iterator[tuple[str, str, Labels, dict[str, int]]]:
    """Yield kind, GPU, labels and resources."""
    yield "whole", "h100", _discovered(facts, "h100"), {_GPU: 8}
    if facts.strategy != "none":
        yield ("slices", "a100", *_sliced(facts, "a100"))
    if facts.shared:
        yield ("shares", facts.shared, *_shared(facts, facts.shared, renamed=True))
    if "other" in facts.decoys:
        yield "other", "t4", _discovered(facts, "t4"), {_GPU: 8}
        yield "undivided", "a100", _discovered(facts, "a100"), {_GPU: 8}
    if "shared-h100" in facts.decoys:
        yield ("shared-h100", "h100", *_shared(facts, "h100", renamed=False))
    if "sliced-h100" in facts.decoys:
        yield ("sliced-h100", "h100", *_sliced(facts, "h100", single=facts.strategy != "partition"))


def _discovered(facts: _Platform, gpu: str, suffix: str = "", **more: str) -> Labels:
    if not facts.feature_discovery:
        return {}
    labels = {"nvidia.com/gpu.product": _PRODUCTS[gpu] + suffix, _STRATEGY: "none"}
    return {**labels, **{f"nvidia.com/{key.replace('_', '.')}": v for key, v in more.items()}}


def _sliced(facts: _Platform, gpu: str, *, single: bool = False) -> tuple[Labels, dict[str, int]]:
    if facts.strategy == "partition":
        return {"cloud.google.com/gke-gpu-partition-size": "1g.10gb"}, {_GPU: 56}
    if single or facts.strategy == "single":
        more = {"mig_strategy": "single", "gpu_slices_gi": "1"}
        return _discovered(facts, gpu, "-MIG-1g.10gb", **more), {_GPU: 56}
    return _discovered(facts, gpu, mig_strategy="mixed"), {_SLICE: 56}


def _shared(facts: _Platform, gpu: str, *, renamed: bool) -> tuple[Labels, dict[str, int]]:
    if facts.strategy == "partition":
        labels = {
            "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
            "cloud.google.com/gke-max-shared-clients-per-gpu": "4",
        }
        return labels, {_GPU: 32}
    labels = _discovered(facts, gpu, "" if renamed else "-SHARED")
    return {**labels, _STRATEGY: "time-slicing"}, {_SHARED if renamed else _GPU: 32}
