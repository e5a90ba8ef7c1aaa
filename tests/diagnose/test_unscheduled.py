"""A pod that no node takes: the one reason, what shows it, and the fix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpukit.diagnose.snapshot import Gap
from tests.diagnose.scene import A100_SLICES, Scene, gpu_node, holder, stamp
from tests.nodes import NODES, node

H100 = "NVIDIA-H100-80GB-HBM3"
_SLICE = "nvidia.com/mig-1g.10gb"
FITS = gpu_node("rack-2", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7})


def test_a_pod_that_fits_gets_no_verdict() -> None:
    assert Scene(FITS).verdict() is None


def test_a_slice_that_nobody_offers_names_the_nearest_that_exists() -> None:
    verdict = Scene(A100_SLICES).sure()
    assert verdict.id == "resource-nowhere"
    assert _SLICE in verdict.reason
    assert verdict.fix.options == {"profile": "mig-2g.20gb"}
    assert verdict.fix.line == "gpukit submit --profile mig-2g.20gb …"
    assert "mig-2g.20gb × 3 (rack-1)" in " ".join(verdict.evidence)


def test_a_card_that_can_be_cut_is_offered_to_whoever_runs_the_cluster() -> None:
    able = gpu_node("rack-3", H100, {"nvidia.com/gpu": 8}, nvidia_com__mig_capable="true")
    verdict = Scene(able).sure()
    assert verdict.fix.options == {"profile": "h100"}
    command = verdict.others[0].command
    assert command[1:4] == ("label", "node", "rack-3")
    assert "nvidia.com/mig.config=all-1g.10gb" in command


def test_another_card_is_named_as_profile_has_it() -> None:
    cards = gpu_node("rack-4", "NVIDIA-A100-SXM4-80GB", {"nvidia.com/gpu": 4})
    verdict = Scene(cards, profile="h100").sure()
    assert verdict.id == "resource-nowhere"
    assert verdict.fix.options == {"profile": "a100-80gb"}


def test_nodes_with_a_gpu_and_no_device_are_named() -> None:
    verdict = Scene(gpu_node("new", H100, {}), profile="h100").sure()
    assert verdict.id == "resource-nowhere"
    assert "device plugin is not up" in " ".join(verdict.evidence)


def test_more_gpus_than_a_node_has() -> None:
    verdict = Scene(gpu_node("rack-5", H100, {"nvidia.com/gpu": 4}), profile="h100:8", cpu="4",
                    memory="8Gi").sure()  # fmt: skip
    assert verdict.id == "too-many-gpus"
    assert verdict.fix.options == {"profile": "h100:4"}


def test_fewer_of_another_card_where_no_node_has_so_many() -> None:
    cards = gpu_node("rack-5", "Tesla-T4", {"nvidia.com/gpu": 4})
    verdict = Scene(cards, profile="h100:8", cpu="4", memory="8Gi").sure()
    assert verdict.fix.options == {"profile": "t4:4"}


def test_slices_that_are_counted_as_whole_gpus() -> None:
    cut = gpu_node(
        "rack-6", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", {"nvidia.com/gpu": 7},
        nvidia_com__mig_strategy="single", nvidia_com__gpu_slices_gi="1",
        eks_amazonaws_com__nodegroup="a",
    )  # fmt: skip
    verdict = Scene(cut, platform="eks").sure()
    assert "count mig-1g.10gb as nvidia.com/gpu" in verdict.reason
    assert verdict.fix.options == {"profile": "mig-1g.10gb", "platform": "generic-single"}


def test_all_taken_names_who_holds_them_and_until_when() -> None:
    scene = Scene(FITS)
    scene.others = [
        holder("big", "rack-2", {_SLICE: "6"}),
        holder("short", "rack-2", {_SLICE: "1"}, spec={"activeDeadlineSeconds": 10800}),
    ]
    verdict = scene.sure()
    assert verdict.id == "gpu-taken"
    assert verdict.waiting
    assert verdict.fix.kind == "wait"
    assert "in 60 min at the latest" in verdict.fix.text
    assert verdict.evidence[1] == "team-b/big holds 6 on rack-2 for 2 h"


def test_pods_that_have_ended_hold_nothing() -> None:
    scene = Scene(FITS)
    done = holder("done", "rack-2", {_SLICE: "7"})
    done["status"]["phase"] = "Succeeded"
    scene.others = [done]
    assert scene.verdict() is None


def test_what_is_free_now_is_offered_beside_waiting() -> None:
    scene = Scene(FITS, A100_SLICES)
    scene.others = [holder("big", "rack-2", {_SLICE: "7"})]
    verdict = scene.sure()
    assert verdict.id == "gpu-taken"
    assert [fix.options for fix in verdict.others] == [{"profile": "mig-2g.20gb"}]


@pytest.mark.parametrize(
    ("taint", "typed", "back"),
    [
        ({"key": "dedicated", "value": "vision", "effect": "NoSchedule"},
         "--tolerations dedicated=vision:NoSchedule", "dedicated:NoSchedule-"),
        ({"key": "dedicated", "effect": "NoExecute"}, "--tolerations dedicated:NoExecute",
         "dedicated:NoExecute-"),
    ],
)  # fmt: skip
def test_a_taint_without_toleration(taint: dict[str, str], typed: str, back: str) -> None:
    tainted = gpu_node("rack-6", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7}, taints=[taint])
    verdict = Scene(tainted, node("cpu-1", {})).sure()
    assert verdict.id == "taint-not-tolerated"
    assert typed in verdict.fix.line
    assert verdict.others[0].command == ("kubectl", "taint", "node", "rack-6", back)


def test_tolerations_that_were_declared_stay() -> None:
    taint = {"key": "dedicated", "effect": "NoSchedule"}
    tainted = gpu_node("rack-6", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7}, taints=[taint])
    own = {"key": "other", "operator": "Exists"}
    verdict = Scene(tainted, tolerations=[own]).sure()
    assert [t["key"] for t in verdict.fix.options["tolerations"]] == ["other", "dedicated"]


def test_a_selector_that_matches_nothing_names_the_values_that_exist() -> None:
    there = gpu_node("rack-7", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7}, disk="nvme")
    verdict = Scene(there, node_selector={"disk": "nvmee"}).sure()
    assert verdict.id == "selector-matches-nothing"
    assert verdict.fix.options == {"node_selector": {"disk": "nvme"}}
    assert verdict.fix.line == "gpukit submit --node-selector disk=nvme …"
    assert "values of disk that exist: nvme (rack-7)" in verdict.evidence


def test_a_selector_whose_key_is_nowhere_is_dropped_or_given() -> None:
    verdict = Scene(FITS, node_selector={"rack": "a"}).sure()
    assert verdict.fix.options == {"node_selector": {"rack": None}}
    assert verdict.others[0].command[-2:] == ("rack=a", "--overwrite")


def test_cpu_and_memory_that_are_too_big_beside_the_gpu() -> None:
    verdict = Scene(FITS, cpu="9", memory="100Gi").sure()
    assert verdict.id == "too-big"
    assert verdict.fix.options == {"cpu": "8", "memory": "64Gi"}
    assert any("rack-2: 8 of cpu" in line for line in verdict.evidence)


def test_pods_of_daemon_sets_make_a_node_smaller() -> None:
    scene = Scene(FITS, cpu="8")
    owner = {"kind": "DaemonSet", "name": "logs", "controller": True}
    scene.others = [holder("logs-1", "rack-2", {"cpu": "300m"}, ownerReferences=[owner])]
    assert scene.sure().id == "too-big"
    assert scene.sure().fix.options == {"cpu": "7500m"}


def test_cpu_that_others_hold_beside_a_free_gpu() -> None:
    scene = Scene(FITS, cpu="6")
    scene.others = [holder("etl", "rack-2", {"cpu": "4"})]
    verdict = scene.sure()
    assert verdict.id == "cpu-taken"
    assert verdict.fix.options == {"cpu": "4"}


def test_spot_nodes_for_a_job_on_demand() -> None:
    verdict = Scene(NODES["eks"], profile="h100", platform="eks").sure()
    assert verdict.id == "spot-mismatch"
    assert {"spot": "prefer"} in [fix.options for fix in (verdict.fix, *verdict.others)]


def test_a_job_of_another_platform() -> None:
    store = "s3://bucket/runs"
    scene = Scene(NODES["gke"], profile="h100", platform="karpenter", spot=True, checkpoints=store)
    verdict = scene.sure()
    assert verdict.id == "platform-mismatch"
    assert verdict.fix.options == {"platform": "gke"}


def test_a_cordoned_node() -> None:
    cordoned = gpu_node("rack-8", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7})
    cordoned["spec"]["unschedulable"] = True
    verdict = Scene(cordoned).sure()
    assert verdict.id == "node-cordoned"
    assert verdict.fix.command == ("kubectl", "uncordon", "rack-8")


def test_right_nodes_that_are_in_the_way_come_before_wrong_ones_that_are_not() -> None:
    taint = {"key": "dedicated", "effect": "NoSchedule"}
    tainted = gpu_node("rack-6", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7}, taints=[taint])
    assert Scene(tainted, A100_SLICES, NODES["generic"]).sure().id == "taint-not-tolerated"


def test_no_nodes_at_all() -> None:
    assert Scene().sure().id == "no-nodes"


def test_a_scheduler_that_knows_more_is_quoted() -> None:
    scene = Scene(FITS)
    affinity: dict[str, Any] = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}
    }
    scene.pod["spec"]["affinity"] = affinity
    scene.pod["metadata"]["creationTimestamp"] = stamp(300)
    scene.pod["status"]["conditions"][0]["lastTransitionTime"] = stamp(300)
    verdict = scene.sure()
    assert verdict.id == "scheduler-refuses"
    assert "not computed here: podAntiAffinity" in verdict.evidence[0]
    assert "0/1 nodes are available" in verdict.evidence[1]


def test_a_scheduler_that_does_not_exist() -> None:
    scene = Scene(FITS, pod={"schedulerName": "volcano"})
    scene.pod["status"] = {"phase": "Pending"}
    assert scene.verdict() is None  # it may look in a moment
    scene.pod["metadata"]["creationTimestamp"] = stamp(120)
    verdict = scene.sure()
    assert verdict.id == "no-scheduler"
    assert verdict.fix.options == {"pod": None}


def test_nodes_that_may_not_be_read() -> None:
    scene = Scene()
    scene.facts = {"gaps": (Gap("nodes", "nodes is forbidden"),)}
    verdict = scene.sure()
    assert verdict.id == "scheduler-refuses"
    assert verdict.evidence == (
        "the scheduler says: 0/1 nodes are available",
        "the API server says: nodes is forbidden",
    )


def test_pods_of_others_that_may_not_be_read() -> None:
    scene = Scene(FITS)
    scene.facts = {"gaps": (Gap("pods", "pods is forbidden"),)}
    verdict = scene.sure()
    assert verdict.waiting
    assert verdict.evidence[1] == "the API server says: pods is forbidden"


def test_an_autoscaler_is_given_time_and_then_not() -> None:
    scene = Scene(node("cpu", {"eks.amazonaws.com/nodegroup": "a"}), profile="h100", platform="eks")
    verdict = scene.sure()
    assert (verdict.id, verdict.waiting, verdict.fix.kind) == ("resource-nowhere", True, "wait")
    scene.pod["metadata"]["creationTimestamp"] = stamp(600)
    assert not scene.sure().waiting


def test_a_node_that_is_on_its_way() -> None:
    scene = Scene(node("cpu", {"eks.amazonaws.com/nodegroup": "a"}), profile="h100", platform="eks")
    scene.event("TriggeredScaleUp", "pod triggered scale-up: [{gpus 0->1}]", ago=40,
                source="cluster-autoscaler")  # fmt: skip
    verdict = scene.sure()
    assert (verdict.id, verdict.waiting) == ("node-starting", True)
    assert "cluster-autoscaler, 40 s ago" in verdict.evidence[0]


def test_an_autoscaler_that_refuses_is_quoted_at_once() -> None:
    scene = Scene(node("cpu", {"eks.amazonaws.com/nodegroup": "a"}), profile="h100", platform="eks")
    scene.event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached")
    verdict = scene.sure()
    assert not verdict.waiting
    assert "max node group size reached" in verdict.evidence[-1]


def test_an_autoscaler_that_cannot_know_the_resource_is_not_waited_for() -> None:
    own = {"karpenter.sh/nodepool": "a"}
    scene = Scene(node("cpu", own, provider="aws:///a/i-1"), platform="karpenter")
    verdict = scene.sure()
    assert not verdict.waiting
    assert "Karpenter knows only nvidia.com/gpu" in verdict.evidence[-1]


def test_claims_that_are_missing_and_volumes_that_are_elsewhere() -> None:
    scene = Scene(FITS, checkpoints="pvc:runs")
    verdict = scene.sure()
    assert verdict.id == "claim-missing"
    assert verdict.fix.command[:4] == ("kubectl", "apply", "-f", "-")
    assert verdict.others[0].options == {"checkpoints": "new:20Gi"}
    scene.claims = [_claim("runs", volume="pv-1")]
    scene.volumes = [_volume("pv-1", zone="zone-b")]
    scene.nodes = [gpu_node("rack-9", "NVIDIA-A100-SXM4-80GB", {_SLICE: 7},
                            topology_kubernetes_io__zone="zone-a")]  # fmt: skip
    verdict = scene.sure()
    assert verdict.id == "volume-elsewhere"
    assert verdict.fix.options == {"checkpoints": "new:20Gi"}
    assert "zone-b" in verdict.evidence[0]
    assert "rack-9 (zone-a)" in verdict.evidence[1]


def test_a_claim_without_a_class_that_would_serve_it() -> None:
    scene = Scene(FITS, checkpoints="new:5Gi")
    scene.claims = [_claim("train-checkpoints")]
    assert scene.sure().id == "claim-unbound"
    scene.classes = [{"metadata": {"name": "gp3"}, "provisioner": "ebs.csi.aws.com"}]
    verdict = scene.sure()
    assert verdict.fix.command[1:4] == ("annotate", "storageclass", "gp3")


def _claim(name: str, volume: str = "") -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
    if volume:
        spec["volumeName"] = volume
    phase = "Bound" if volume else "Pending"
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}}


def _volume(name: str, zone: str) -> dict[str, Any]:
    expression = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return {"metadata": {"name": name}, "spec": {"nodeAffinity": affinity, "capacity": {}}}


def test_the_same_run_without_its_annotation_is_judged_by_its_pod() -> None:
    scene = Scene(A100_SLICES)
    snapshot = scene.snapshot()
    bare = replace(snapshot.jobs[0], annotations={})
    from gpukit.diagnose import why

    verdict = why(replace(snapshot, jobs=(bare,)), "train")
    assert verdict is not None
    assert verdict.fix.options == {"profile": "mig-2g.20gb"}
