"""What a declaration becomes on a cluster with the GPU Operator, and why."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from gpukit.catalog import load_catalog
from gpukit.errors import GpukitError, PlacementError
from gpukit.placement import Placement, resolve
from gpukit.spec import make_spec
from tests.samples import place
from tests.strategies import options

PRODUCT = "nvidia.com/gpu.product"
SPOT_KEYS = {
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-spot",
    "kubernetes.azure.com/scalesetpriority",
    "oci.oraclecloud.com/oke-is-preemptible",
}


def terms(placement: Placement) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {term.key: (term.operator, term.values) for term in placement.node_terms}


def accepts(placement: Placement, labels: dict[str, str]) -> bool:
    """Judge a node's labels as the scheduler does."""
    verdicts = {
        "In": lambda value, values: value in values,
        "NotIn": lambda value, values: value not in values,
        "Exists": lambda value, values: value is not None,
        "DoesNotExist": lambda value, values: value is None,
    }
    return all(verdicts[t.operator](labels.get(t.key), t.values) for t in placement.node_terms)


@pytest.mark.parametrize(
    ("declared", "resource", "count"),
    [
        ({"profile": "cpu"}, None, 0),
        ({"profile": "h100"}, "nvidia.com/gpu", 1),
        ({"profile": "a100:4"}, "nvidia.com/gpu", 4),
        ({"profile": "gpu"}, "nvidia.com/gpu", 1),
        ({"profile": "mig-1g.10gb"}, "nvidia.com/mig-1g.10gb", 1),
        ({"profile": "mig-1g.10gb+me"}, "nvidia.com/mig-1g.10gb.me", 1),
        ({"profile": "mig-1g.24gb+me.all"}, "nvidia.com/mig-1g.24gb.me.all", 1),
        ({"profile": "mig-1g.24gb-me"}, "nvidia.com/mig-1g.24gb-me", 1),
        ({"profile": "shared"}, "nvidia.com/gpu.shared", 1),
        ({"profile": ["h100:2", "h200:2"]}, "nvidia.com/gpu", 2),
    ],
)
def test_resource_name(declared: dict[str, Any], resource: str | None, count: int) -> None:
    placement = place(**declared)
    assert (placement.resource_name, placement.count) == (resource, count)


@pytest.mark.parametrize(
    ("declared", "labels", "fits"),
    [
        ({"profile": "h100"}, {PRODUCT: "NVIDIA-H100-80GB-HBM3"}, True),
        ({"profile": "h100"}, {PRODUCT: "NVIDIA-H100-PCIe"}, True),
        ({"profile": "h100"}, {PRODUCT: "NVIDIA-H100-NVL"}, False),
        ({"profile": "h100"}, {PRODUCT: "NVIDIA-H100-80GB-HBM3-SHARED"}, False),
        ({"profile": "h100"}, {PRODUCT: "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"}, False),
        ({"profile": "h100-sxm"}, {PRODUCT: "NVIDIA-H100-PCIe"}, False),
        ({"profile": "a100"}, {PRODUCT: "NVIDIA-A100-SXM4-40GB"}, True),
        ({"profile": "a100"}, {PRODUCT: "NVIDIA-A100-80GB-PCIe"}, True),
        ({"profile": ["h100", "h200"]}, {PRODUCT: "NVIDIA-H200"}, True),
        (
            {"profile": "gpu"},
            {PRODUCT: "Tesla-T4", "nvidia.com/gpu.sharing-strategy": "none"},
            True,
        ),
        ({"profile": "gpu"}, {"nvidia.com/gpu.sharing-strategy": "time-slicing"}, False),
        ({"profile": "gpu"}, {"nvidia.com/gpu.sharing-strategy": "mps"}, False),
        ({"profile": "gpu"}, {"nvidia.com/gpu.slices.gi": "1"}, False),
        ({"profile": "gpu"}, {}, True),
        ({"profile": "mig-1g.10gb"}, {PRODUCT: "NVIDIA-A100-SXM4-40GB"}, True),
        ({"profile": "mig-1g.10gb", "gpu": "h100"}, {PRODUCT: "NVIDIA-A100-SXM4-40GB"}, False),
        ({"profile": "mig-1g.10gb", "gpu": "h100"}, {PRODUCT: "NVIDIA-H100-PCIe"}, True),
        ({"profile": "shared", "gpu": "t4"}, {PRODUCT: "Tesla-T4-SHARED"}, True),
        ({"profile": "shared", "gpu": "t4"}, {PRODUCT: "NVIDIA-L4"}, False),
        ({"profile": "cpu"}, {}, True),
        ({"profile": "cpu"}, {"karpenter.sh/capacity-type": "spot"}, False),
        ({"profile": "cpu"}, {"karpenter.sh/capacity-type": "on-demand"}, True),
        ({"profile": "cpu", "spot": True}, {"karpenter.sh/capacity-type": "on-demand"}, True),
    ],
)
def test_nodes_that_fit(declared: dict[str, Any], labels: dict[str, str], fits: bool) -> None:
    assert accepts(place(**declared), labels) is fits


def test_spot_is_preferred_where_no_label_is_common_and_its_taints_are_tolerated() -> None:
    placement = place(profile="l4", spot=True, checkpoints="s3://b/p")
    assert {term.key for term in placement.preferred_terms} == SPOT_KEYS
    assert not SPOT_KEYS & set(terms(placement))
    tolerated = {t.key for t in placement.tolerations}
    assert {
        "kubernetes.azure.com/scalesetpriority",
        "cloud.google.com/gke-spot",
        "oci.oraclecloud.com/oke-is-preemptible",
    } <= tolerated
    assert any("node_selector" in warning for warning in placement.warnings)
    chosen = place(profile="l4", spot=True, checkpoints="s3://b/p", node_selector={"pool": "spot"})
    assert chosen.warnings == ()


def test_on_demand_avoids_spot_nodes_and_a_selector_for_them_is_a_contradiction() -> None:
    placement = place(profile="l4")
    assert {key for key, (op, _) in terms(placement).items() if op == "NotIn"} >= SPOT_KEYS
    assert not any(t.key in SPOT_KEYS for t in placement.tolerations)
    with pytest.raises(PlacementError) as caught:
        place(profile="l4", node_selector={"karpenter.sh/capacity-type": "spot"})
    assert caught.value.id == "spot-selector"


def test_gpu_taint_is_tolerated_with_any_value_and_only_with_a_gpu() -> None:
    gpu = [t for t in place(profile="mig-1g.10gb").tolerations if t.key == "nvidia.com/gpu"]
    assert [(t.operator, t.value, t.effect) for t in gpu] == [("Exists", None, "NoSchedule")]
    assert not [t for t in place().tolerations if t.key == "nvidia.com/gpu"]


@pytest.mark.parametrize(("spot", "seconds"), [(True, 30), ("prefer", 30), (False, 60)])
def test_lost_nodes_are_waited_for_briefly(spot: Any, seconds: int) -> None:
    lost = {
        t.key: t.tolerationSeconds
        for t in place(profile="l4", spot=spot).tolerations
        if t.effect == "NoExecute"
    }
    assert lost == {
        "node.kubernetes.io/not-ready": seconds,
        "node.kubernetes.io/unreachable": seconds,
    }


def test_grace_follows_capacity_and_the_override() -> None:
    assert place(profile="l4").grace > place(profile="l4", spot=True).grace
    assert place(profile="l4", spot=True).grace <= 25, "AKS gives about 30 s"
    assert place(pod={"terminationGracePeriodSeconds": 7}).grace == 7


@pytest.mark.parametrize(
    ("declared", "cpu", "memory", "shm"),
    [
        ({}, 2000, 4, 2),
        ({"profile": "mig-1g.10gb"}, 2000, 8, 4),
        ({"profile": "shared"}, 2000, 8, 4),
        ({"profile": "h100"}, 3000, 12, 6),
        ({"profile": "h100:8"}, 24000, 96, 48),
        ({"cpu": "500m", "memory": "1Gi"}, 500, 1, 0.5),
        ({"shm": "10Gi"}, 2000, 20, 10),
        ({"shm": "1Gi"}, 2000, 4, 1),
    ],
)
def test_sizes(declared: dict[str, Any], cpu: int, memory: float, shm: float) -> None:
    placement = place(**declared)
    assert placement.cpu == cpu
    assert (placement.memory, placement.shm) == (memory * 2**30, shm * 2**30)


@pytest.mark.parametrize(
    ("declared", "where"),
    [
        ({}, "None"),
        ({"spot": True}, "new:20Gi"),
        ({"spot": "prefer"}, "new:20Gi"),
        ({"checkpoint_every": "1h"}, "new:20Gi"),
        ({"spot": True, "checkpoints": "s3://b/p"}, "s3://b/p"),
    ],
)
def test_checkpoints_get_a_place_when_they_are_needed(declared: dict[str, Any], where: str) -> None:
    placement = place(**declared)
    assert str(placement.checkpoints) == where
    assert placement.durable == (where != "None")
    zonal = [w for w in placement.warnings if "zonal" in w]
    assert bool(zonal) == (where == "new:20Gi" and "spot" in declared)


def test_price_is_that_of_the_dearest_gpu_that_fits_and_of_the_capacity() -> None:
    assert place(profile="h100:2").price_per_hour == Decimal("13.7600")
    assert place(profile="h100:8", spot=True).price_per_hour == Decimal("18.7200")
    assert place(profile="h100", spot="prefer").price_per_hour == Decimal("6.8800")
    slices = place(profile="mig-1g.10gb")
    assert slices.price_per_hour == Decimal("0.9829"), "h100, the dearest of three"
    assert place(profile="mig-1g.10gb", gpu="a100-80gb").price_per_hour == Decimal("0.4901")
    for unknown in ("cpu", "shared", "gpu", "gh200", "rtx-4090"):
        assert place(profile=unknown).price_per_hour is None


def test_an_old_price_is_said_to_be_old() -> None:
    spec = make_spec({"profile": "h100"})
    fresh = resolve(spec, load_catalog(), today=date(2026, 8, 1))
    stale = resolve(spec, load_catalog(), today=date(2026, 12, 1))
    assert fresh.warnings == ()
    assert "134 days old" in stale.warnings[0]


def test_arm64_needs_an_image_for_it() -> None:
    placement = place(profile="gb200:4")
    assert any("arm64" in warning for warning in placement.warnings)
    assert any(t.key == "kubernetes.io/arch" for t in placement.tolerations)


def test_override_that_surprises_is_warned_of() -> None:
    pod = {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "log", "image": "a"}]}
    warnings = " ".join(place(pod=pod).warnings)
    assert "replaces every toleration" in warnings
    assert "'log'" in warnings


@pytest.mark.parametrize(
    ("declared", "id", "hint"),
    [
        ({"profile": "h10"}, "gpu-unknown", "h100"),
        ({"profile": "mig-1g.12gb", "gpu": "h1000"}, "gpu-unknown", "h100"),
        ({"profile": "mig-9g.99gb"}, "mig-unknown", "gpukit gpus"),
        ({"profile": "mig-1g.10gb", "gpu": "h200"}, "mig-not-on-gpu", "a100-80gb"),
        ({"profile": "mig-1g.10gb", "gpu": "t4"}, "mig-not-on-gpu", "t4 has no MIG"),
        ({"profile": ["h100", "h100:2"]}, "alternatives-differ", "same number"),
        ({"profile": ["cpu", "h100"]}, "alternatives-differ", "same request"),
        ({"profile": "shared", "max_cost": "$5"}, "budget-without-price", "timeout="),
        ({"profile": "b300", "spot": True, "max_cost": 5}, "budget-without-price", "timeout="),
        ({"tolerations": [{"operator": "Exists", "key": "a", "value": "b"}]},
         "toleration-value", "any value"),
        ({"tolerations": [{"value": "b"}]}, "toleration-key", "Exists"),
        ({"tolerations": [{"key": "a", "value": "b", "tolerationSeconds": 3}]},
         "toleration-seconds", "NoExecute"),
        ({"tolerations": [{"key": "a b", "operator": "Exists"}]}, "label-key", "letters"),
        ({"tolerations": [{"key": "a", "value": "b c"}]}, "label-value", "b-c"),
    ],
)  # fmt: skip
def test_impossible_declarations(declared: dict[str, Any], id: str, hint: str) -> None:
    with pytest.raises(GpukitError) as caught:
        place(**declared)
    assert caught.value.id == id
    assert hint in caught.value.hint


@settings(max_examples=100, deadline=None)
@given(options())
def test_every_part_has_a_reason_and_nothing_is_decided_by_chance(declared: dict[str, Any]) -> None:
    placement = place(**declared)
    assert placement == place(**declared)
    explained = [reason.field for reason in placement.reasons]
    assert {"resource", "spot", "grace", "cpu", "memory", "shm", "checkpoints", "price"} <= set(
        explained
    )
    assert all(reason.why for reason in placement.reasons)
    assert len(set(explained)) == len(explained)
