"""What a declaration becomes on each platform, and what is refused or warned about there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukit.catalog import INSTANCE_TYPE, load_catalog
from gpukit.errors import PlacementError
from gpukit.placement import Placement
from tests.golden.platforms import ASKED, PLATFORM_CASES, REFUSED
from tests.nodes import NODES
from tests.official import VERSIONS, assert_valid
from tests.samples import bundle, place
from tests.strategies import options

CATALOG = load_catalog()
PLATFORMS = [platform.name for platform in CATALOG.platforms]
GFD = "nvidia.com/"


def terms(placement: Placement) -> dict[str, tuple[str, tuple[str, ...]]]:
    selected = {key: ("In", (value,)) for key, value in placement.node_selector.items()}
    return {**selected, **{t.key: (t.operator, t.values) for t in placement.node_terms}}


def accepts(placement: Placement, labels: dict[str, str]) -> bool:
    """Judge a node's labels as the scheduler does."""
    for key, (operator, values) in terms(placement).items():
        value = labels.get(key)
        verdicts = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not verdicts[operator]:
            return False
    return True


def test_the_table_of_platforms_is_complete() -> None:
    assert set(PLATFORMS) == {
        "generic", "generic-single", "eks", "karpenter", "eks-auto", "gke", "gke-autopilot",
        "aks", "oke",
    }  # fmt: skip
    assert len(PLATFORM_CASES) == len(PLATFORMS) * len(ASKED) * 2 - 2 * len(REFUSED)
    assert set(NODES) == set(PLATFORMS)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("profile", ["h100", "h100:8"])
def test_whole_gpus_fit_the_platforms_own_nodes(platform: str, profile: str) -> None:
    labels = NODES[platform]["metadata"]["labels"]
    spot = place(profile=profile, platform=platform, spot=True, checkpoints="s3://b/p")
    assert spot.resource_name == "nvidia.com/gpu"
    divided = platform == "generic-single"  # its node has slices
    assert accepts(spot, labels) is not divided
    if CATALOG.platform(platform).cloud:
        on_demand = place(profile=profile, platform=platform)
        taken = not CATALOG.platform(platform).spot_avoided  # there, a taint keeps it off
        assert accepts(on_demand, labels) is taken
        other = place(profile="a100", platform=platform, spot=True, checkpoints="s3://b/p")
        assert not accepts(other, labels)


@pytest.mark.parametrize("platform", [p.name for p in CATALOG.platforms if p.cloud])
@pytest.mark.parametrize("kind", ASKED)
def test_nothing_is_required_that_a_pool_at_zero_nodes_does_not_have(
    platform: str, kind: str
) -> None:
    for spot in ("spot", "on-demand"):
        case = PLATFORM_CASES.get(f"{platform}/{kind}-{spot}")
        if case is None:
            continue
        for key, (operator, _) in terms(place(**case)).items():
            assert not key.startswith(GFD) or operator in ("NotIn", "DoesNotExist"), key


@pytest.mark.parametrize(
    ("platform", "resource"),
    [
        ("generic", "nvidia.com/mig-1g.10gb"), ("generic-single", "nvidia.com/gpu"),
        ("eks", "nvidia.com/mig-1g.10gb"), ("karpenter", "nvidia.com/mig-1g.10gb"),
        ("gke", "nvidia.com/gpu"), ("gke-autopilot", "nvidia.com/gpu"),
        ("aks", "nvidia.com/mig-1g.10gb"), ("oke", "nvidia.com/mig-1g.10gb"),
    ],
)  # fmt: skip
def test_slices_have_the_platforms_name(platform: str, resource: str) -> None:
    placed = place(profile="mig-1g.10gb", gpu="a100-80gb", platform=platform)
    assert (placed.resource_name, placed.count) == (resource, 1)
    if resource == "nvidia.com/gpu":
        text = str(terms(placed))
        assert "1g.10gb" in text, "without a label it would be a whole GPU"


def test_single_strategy_tells_slices_apart_by_the_product_label() -> None:
    placed = place(profile="mig-1g.10gb+me", platform="generic-single")
    values = terms(placed)["nvidia.com/gpu.product"][1]
    assert "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me" in values
    assert not any(value.startswith("NVIDIA-A100-SXM4-40GB") for value in values)
    assert accepts(
        place(profile="mig-1g.10gb", platform="generic-single"),
        NODES["generic-single"]["metadata"]["labels"],
    )


@pytest.mark.parametrize(
    ("platform", "profile", "chosen"),
    [
        ("eks", "h100", {INSTANCE_TYPE: ("p5.4xlarge", "p5.48xlarge")}),
        ("eks", "h100:2", {INSTANCE_TYPE: ("p5.48xlarge",)}),
        ("karpenter", "h100", {"karpenter.k8s.aws/instance-gpu-name": ("h100",)}),
        ("karpenter", "a100", {"karpenter.k8s.aws/instance-gpu-name": ("a100",)}),
        (
            "karpenter", "a100-80gb",
            {
                "karpenter.k8s.aws/instance-gpu-name": ("a100",),
                "karpenter.k8s.aws/instance-gpu-memory": ("81920",),
            },
        ),
        # memory 40960 or 81920 would admit an A100 of 80 GB: so the machines are named
        (
            "karpenter", ["a100-40gb:8", "h100:8"],
            {INSTANCE_TYPE: ("p4d.24xlarge", "p5.48xlarge")},
        ),
        ("eks-auto", "l4", {"eks.amazonaws.com/instance-gpu-name": ("l4",)}),
        (
            "gke", "h100",
            {"cloud.google.com/gke-accelerator": ("nvidia-h100-80gb", "nvidia-h100-mega-80gb")},
        ),
        ("gke", "a100-40gb", {"cloud.google.com/gke-accelerator": ("nvidia-tesla-a100",)}),
        ("gke-autopilot", "l4", {"cloud.google.com/gke-accelerator": ("nvidia-l4",)}),
        ("aks", "h100-nvl:2", {INSTANCE_TYPE: ("Standard_NC80adis_H100_v5",)}),
        ("aks", "a100-80gb-pcie:4", {INSTANCE_TYPE: ("Standard_NC96ads_A100_v4",)}),
        ("oke", "a10:4", {INSTANCE_TYPE: ("BM.GPU.A10.4",)}),
    ],
)  # fmt: skip
def test_what_chooses_the_gpu(
    platform: str, profile: Any, chosen: dict[str, tuple[str, ...]]
) -> None:
    found = terms(place(profile=profile, platform=platform))
    positive = {
        key: values for key, (operator, values) in found.items()
        if operator == "In" and "compute-type" not in key
    }  # fmt: skip
    assert positive == chosen


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_exactly_the_machines_that_are_meant_are_admitted(data: st.DataObject) -> None:
    """The labels of every machine type, as the autoscaler knows them, judged one by one."""
    platform = CATALOG.platform(data.draw(st.sampled_from(["eks", "karpenter", "eks-auto", "aks"])))
    there = sorted({m.gpu for m in CATALOG.machines if m.cloud == platform.cloud})
    names = data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=3, unique=True))
    placed = place(profile=names, platform=platform.name)
    for machine in CATALOG.machines:
        if machine.cloud == platform.cloud:
            labels = {INSTANCE_TYPE: machine.name, "eks.amazonaws.com/compute-type": "auto"}
            for key, word in platform.gpu_labels.items():
                labels[key] = str(machine.value(word))
            assert accepts(placed, labels) is (machine.gpu in names), (names, machine.name)


def test_shared_gpus_by_platform() -> None:
    assert place(profile="shared", platform="eks").resource_name == "nvidia.com/gpu.shared"
    gke = place(profile="shared", platform="gke")
    assert gke.resource_name == "nvidia.com/gpu"
    assert terms(gke)["cloud.google.com/gke-gpu-sharing-strategy"][1] == ("time-sharing", "mps")
    whole = terms(place(profile="l4", platform="gke"))
    assert whole["cloud.google.com/gke-gpu-sharing-strategy"][0] == "DoesNotExist"
    assert whole["cloud.google.com/gke-gpu-partition-size"][0] == "DoesNotExist"


@pytest.mark.parametrize(
    ("platform", "label", "taint", "grace"),
    [
        ("eks", ("eks.amazonaws.com/capacityType", "SPOT"), None, 90),
        ("karpenter", ("karpenter.sh/capacity-type", "spot"), None, 90),
        ("eks-auto", ("karpenter.sh/capacity-type", "spot"), None, 90),
        ("gke", ("cloud.google.com/gke-spot", "true"), "cloud.google.com/gke-spot", 15),
        ("gke-autopilot", ("cloud.google.com/gke-spot", "true"), "cloud.google.com/gke-spot", 15),
        ("aks", ("kubernetes.azure.com/scalesetpriority", "spot"),
         "kubernetes.azure.com/scalesetpriority", 25),
        ("oke", ("oci.oraclecloud.com/oke-is-preemptible", "true"),
         "oci.oraclecloud.com/oke-is-preemptible", 25),
    ],
)  # fmt: skip
def test_spot_is_required_tolerated_and_its_grace_is_real(
    platform: str, label: tuple[str, str], taint: str | None, grace: int
) -> None:
    placed = place(profile="h100", platform=platform, spot=True, checkpoints="s3://b/p")
    assert terms(placed)[label[0]] == ("In", (label[1],))
    spot_taints = {t.key for t in placed.tolerations} - {
        "nvidia.com/gpu", "sku", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable",
    }  # fmt: skip
    assert spot_taints == ({taint} if taint else set())
    assert placed.grace == grace
    preferred = place(profile="h100", platform=platform, spot="prefer", checkpoints="s3://b/p")
    assert [(t.key, t.values) for t in preferred.preferred_terms] == [(label[0], (label[1],))]
    assert label[0] not in terms(preferred)


def test_aks_examples_taint_and_annotations_of_karpenter() -> None:
    assert any(t.key == "sku" and t.value == "gpu" for t in place(
        profile="h100", platform="aks").tolerations)  # fmt: skip
    on_demand = place(profile="h100", platform="karpenter").pod_annotations
    assert on_demand == {"karpenter.sh/do-not-disrupt": "true"}
    spot = place(profile="h100", platform="karpenter", spot=True, checkpoints="s3://b/p")
    assert spot.pod_annotations == {}, "on spot the node would end without SIGTERM"


def test_autopilot_is_asked_by_node_selector() -> None:
    placed = place(profile="l4", platform="gke-autopilot", spot=True, checkpoints="s3://b/p")
    assert placed.node_selector == {
        "cloud.google.com/gke-accelerator": "nvidia-l4", "cloud.google.com/gke-spot": "true",
    }  # fmt: skip
    assert placed.node_terms == ()


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"platform": "karpenter", "profile": "mig-1g.10gb", "gpu": "h100"}, "NodeOverlay"),
        ({"platform": "karpenter", "profile": "shared"}, "NodeOverlay"),
        ({"platform": "eks", "profile": "mig-1g.10gb"},
         "node-template/resources/nvidia.com/mig-1g.10gb"),
        ({"platform": "aks", "profile": "mig-1g.10gb"}, "--gpu-instance-profile"),
        ({"platform": "oke", "profile": "mig-1g.10gb"}, "at zero nodes"),
        ({"platform": "gke-autopilot", "profile": ["l4", "t4"]}, "only one"),
        ({"platform": "eks", "profile": "gpu",
          "node_selector": {"nvidia.com/gpu.product": "Tesla-T4"}}, "after it has booted"),
        ({"profile": "gpu", "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB"}},
         "'NVIDIA-H100-80GB-HBM3'"),
        ({"platform": "gke", "profile": "l4", "spot": True, "checkpoints": "s3://b/p",
          "pod": {"terminationGracePeriodSeconds": 60}}, "has 15 s at most"),
        ({"platform": "karpenter", "profile": "l4", "spot": True, "checkpoints": "s3://b/p",
          "pod": {"terminationGracePeriodSeconds": 300}}, "has 120 s at most"),
    ],
)  # fmt: skip
def test_what_works_only_under_a_condition_is_warned_about(
    declared: dict[str, Any], said: str
) -> None:
    assert any(said in warning for warning in place(**declared).warnings)


@pytest.mark.parametrize(
    ("declared", "id", "hint"),
    [
        ({"platform": "eks-auto", "profile": "mig-1g.10gb"}, "mig-on-eks-auto", '"eks"'),
        ({"platform": "eks-auto", "profile": "shared"}, "shared-on-eks-auto", '"eks"'),
        ({"platform": "gke", "profile": "mig-1g.10gb+me"}, "mig-on-gke", "without +"),
        ({"platform": "gke-autopilot", "profile": "gpu"}, "gpu-unnamed-on-autopilot", "name it"),
        ({"platform": "gke-autopilot", "profile": "mig-1g.10gb"},
         "gpu-unnamed-on-autopilot", 'gpu="h100"'),
        ({"platform": "gke-autopilot", "profile": "shared", "gpu": "l4"},
         "clients-unnamed-on-autopilot", "gke-max-shared-clients-per-gpu"),
        ({"platform": "gke", "profile": "a30"}, "gpu-not-on-platform", "known there"),
        ({"platform": "eks", "profile": "h100-pcie"}, "gpu-not-on-platform", "h100"),
        ({"platform": "gke", "profile": "mig-1g.6gb"}, "gpu-not-on-platform", "a30"),
        ({"platform": "eks", "profile": "l4:16"}, "gpu-count-on-platform", '"l4:8"'),
        ({"profile": "mig-1g.10gb",
          "node_selector": {"nvidia.com/gpu.sharing-strategy": "mps"}}, "mps-with-mig", "choose"),
        ({"platform": "gke", "profile": "mig-1g.10gb", "gpu": "h100",
          "node_selector": {"cloud.google.com/gke-gpu-sharing-strategy": "mps"}},
         "mps-with-mig", "choose"),
        ({"profile": "h100", "node_selector": {"nvidia.com/gpu.sharing-strategy": "time-slicing"}},
         "sharing-with-whole", '"shared"'),
        ({"platform": "karpenter", "profile": "h100",
          "node_selector": {"karpenter.k8s.aws/instance-gpu-name": "a100"}},
         "selector-contradiction", "no node"),
        ({"profile": "mig-1g.10gb", "pod": {"containers": [
            {"name": "main", "resources": {"limits": {"nvidia.com/mig-1g.10gb": 2}}}]}},
         "override-device-count", "larger slice"),
        ({"profile": "shared", "pod": {"containers": [
            {"name": "main", "resources": {"limits": {"nvidia.com/gpu.shared": "2"}}}]}},
         "override-device-count", "write 1"),
        ({"platform": "gke", "profile": ["h100", "mig-1g.10gb"]}, "alternatives-differ", "MIG"),
        ({"platform": "auto", "profile": "h100"}, "platform-auto", "karpenter"),
        ({"platform": "karpentr"}, "platform-unknown", "'karpenter'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_reason(
    declared: dict[str, Any], id: str, hint: str
) -> None:
    with pytest.raises(PlacementError) as caught:
        place(**declared)
    assert caught.value.id == id
    assert hint in caught.value.hint


@pytest.mark.parametrize(("cell", "id"), REFUSED.items())
def test_cells_without_a_golden_file_are_refused(cell: tuple[str, str], id: str) -> None:
    with pytest.raises(PlacementError) as caught:
        place(platform=cell[0], **ASKED[cell[1]])
    assert caught.value.id == id


def test_the_cheapest_of_a_list_comes_first() -> None:
    placed = place(profile=["h100", "a100-80gb", "l4"], platform="gke")
    weights = {term.values: term.weight for term in placed.preferred_terms}
    assert weights == {("nvidia-l4",): 50, ("nvidia-a100-80gb",): 34}
    order = next(reason for reason in placed.reasons if reason.field == "order")
    assert order.value == "l4, a100-80gb, h100"
    unknown = place(profile=["h100", "gh200"])
    assert unknown.preferred_terms == ()
    assert any(r.field == "order" and "unknown" in r.why for r in unknown.reasons)


def test_the_same_name_of_a_slice_on_two_gpus_is_explained() -> None:
    placed = place(profile="mig-1g.10gb")
    why = next(reason.why for reason in placed.reasons if reason.field == "mig")
    assert "1/4 of a100-40gb" in why
    assert "1/7 of h100" in why


@given(declared=options(), platform=st.sampled_from(PLATFORMS))
@settings(max_examples=300, deadline=None)
def test_any_declaration_is_placed_and_valid_or_refused_in_words(
    declared: dict[str, Any], platform: str
) -> None:
    asked = {**declared, "platform": platform}
    try:
        rendered = bundle(**asked)
    except PlacementError as error:
        refused: PlacementError | None = error
    else:
        refused = None
    if refused is not None:
        assert refused.hint
        return
    assert rendered.placement == place(**asked)
    for item in rendered.to_dicts():
        assert_valid(item, VERSIONS[-1])
    explained = [reason.field for reason in rendered.placement.reasons]
    assert len(set(explained)) == len(explained)
    assert rendered.placement.platform == platform


CLOUDS = [platform.name for platform in CATALOG.platforms if platform.cloud]


def memory_of(**options: Any) -> tuple[int, int, str]:
    """Memory and /dev/shm in GiB, and the reason for the first."""
    placement = place(**options)
    why = next(reason.why for reason in placement.reasons if reason.field == "memory")
    return placement.memory >> 30, placement.shm >> 30, why


def test_memory_has_room_for_a_snapshot_where_the_machines_have() -> None:
    memory, shm, why = memory_of(platform="eks", profile="h100", spot=True)
    assert (memory, shm) == (12 + 60, 6)  # 3/4 of 80 GB; a snapshot is no part of /dev/shm
    assert "60Gi more for a snapshot" in why
    assert memory_of(platform="eks", profile="mig-1g.10gb", spot=True)[:2] == (8 + 8, 4)
    # a g6.xlarge has 16 GiB beside an L4 of 24 GB
    memory, shm, why = memory_of(platform="eks", profile="l4", spot=True)
    assert (memory, shm) == (12, 6)
    assert "has to fit into it" in why


def test_memory_is_left_alone_where_nothing_is_saved_known_or_left_to_gpukit() -> None:
    quiet = {"platform": "eks", "profile": "h100", "spot": False}
    assert memory_of(**quiet)[:2] == (12, 6)
    assert "snapshot" not in memory_of(**quiet)[2]
    assert memory_of(**{**quiet, "checkpoint_every": "1h"})[0] == 72
    assert memory_of(**{**quiet, "checkpoints": "s3://b/c"})[0] == 72
    assert memory_of(platform="eks", profile="h100", spot=True, memory="20Gi")[:2] == (20, 10)
    assert memory_of(platform="generic", profile="h100", spot=True)[0] == 12  # own machines


@pytest.mark.parametrize("platform", CLOUDS)
def test_pods_fit_beside_each_other_on_every_machine_with_their_gpus(platform: str) -> None:
    cloud = CATALOG.platform(platform).cloud
    checked = 0
    for gpu in CATALOG.gpus:
        for profile, each in [(gpu.name, 1), *((f"mig-{name}", n) for name, n in gpu.mig.items())]:
            try:
                memory, _, why = memory_of(platform=platform, profile=profile, gpu=(
                    gpu.name if profile != gpu.name else None), spot=True)  # fmt: skip
            except PlacementError:
                continue  # not offered there
            for machine in CATALOG.machines_with([gpu], cloud) if "more for a" in why else ():
                if machine.memory_gib is not None:
                    assert memory * each * machine.gpus < 0.9 * machine.memory_gib, machine.name
                    checked += 1
    assert checked or platform == "oke"  # of its machines no memory is known
