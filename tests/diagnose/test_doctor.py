"""Findings over what is seen of a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpukit.catalog import load_catalog
from gpukit.diagnose import ClusterSnapshot, read_node
from gpukit.diagnose.doctor import ClusterReport, Finding, Trial, examine
from gpukit.diagnose.read import read_class, read_quota
from gpukit.diagnose.rights import RIGHTS, roles
from gpukit.diagnose.snapshot import Gap, QueueFacts
from tests.diagnose.scene import A100_SLICES, gpu_node
from tests.nodes import NODES, node

_DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
GP3 = read_class({
    "metadata": {"name": "gp3", "annotations": _DEFAULT}, "provisioner": "ebs.csi.aws.com",
    "volumeBindingMode": "WaitForFirstConsumer",
})  # fmt: skip


def report(*nodes: dict[str, Any], **changes: Any) -> ClusterReport:
    snapshot = ClusterSnapshot(
        namespace="ml", taken=0.0, nodes=tuple(read_node(n) for n in nodes or (A100_SLICES,)),
        classes=(GP3,),
    )  # fmt: skip
    of_snapshot = {k: changes.pop(k) for k in list(changes) if hasattr(snapshot, k)}
    made = ClusterReport(
        server="https://k", version="v1.37.2", number=(1, 37), groups={}, skew=0.0, denied=(),
        snapshot=replace(snapshot, **of_snapshot), trials=(Trial("Job"), Trial("Pod")),
    )  # fmt: skip
    return replace(made, **changes)


def findings(made: ClusterReport) -> dict[str, Finding]:
    found = examine(made, load_catalog())
    order = {"ok": 0, "note": 1, "problem": 2}
    return {f.id: f for f in sorted(found, key=lambda f: order[f.level])}


def test_a_cluster_in_order_has_no_problem() -> None:
    found = findings(report())
    assert {finding.level for finding in found.values()} == {"ok"}
    assert "mig-2g.20gb × 3 (rack-1)" in found["gpus"].text
    assert found["gpus"].details[0] == "nvidia.com/mig-2g.20gb: 3, of which 3 free"
    assert found["platform"].text.startswith('platform="generic"')


def problem(made: ClusterReport, id: str) -> Finding:
    found = findings(made)[id]
    assert found.level == "problem"
    return found


def test_a_server_before_1_31_is_refused_with_the_reason() -> None:
    found = problem(report(number=(1, 30), version="v1.30.2"), "server")
    assert "successPolicy" in found.details[0]
    assert "beta" in findings(report(number=(1, 31)))["server"].text


def test_clocks_that_differ() -> None:
    assert "120 s behind" in problem(report(skew=120.0), "clock").text
    assert "120 s ahead of" in problem(report(skew=-120.0), "clock").text


def test_rights_that_are_missing_come_with_the_role() -> None:
    jobs, nodes = RIGHTS[0], next(r for r in RIGHTS if r.resource == "nodes")
    made = report(denied=((jobs, "create"), (jobs, "patch"), (nodes, "list")))
    found = problem(made, "rights")
    assert found.details == ("create, patch on jobs.batch: runs",)
    assert found.fix is not None
    assert found.fix.line == "gpukit doctor --namespace ml --rbac"
    assert findings(made)["rights-to-read"].level == "note"


def test_no_gpu_is_a_problem_unless_pools_may_be_at_zero() -> None:
    assert problem(report(node("cpu", {})), "gpus")
    assert (
        findings(report(node("cpu", {"eks.amazonaws.com/nodegroup": "a"})))["gpus"].level == "note"
    )


def test_a_device_plugin_that_is_not_up() -> None:
    found = problem(report(A100_SLICES, gpu_node("new", "Tesla-T4", {})), "device-plugin")
    assert "new" in found.text


def test_taints_that_no_job_tolerates_by_itself() -> None:
    usual = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    strange = {"key": "dedicated", "value": "vision", "effect": "NoSchedule"}
    made = gpu_node("rack-2", "Tesla-T4", {"nvidia.com/gpu": 1}, taints=[usual, strange])
    assert "dedicated=vision:NoSchedule" in findings(report(made))["taints"].text
    assert "taints" not in findings(report())


def test_storage_without_a_default_and_in_the_wrong_zone() -> None:
    bare = replace(GP3, default=False)
    found = problem(report(classes=(bare,)), "storage")
    assert found.fix is not None
    assert found.fix.command[:4] == ("kubectl", "annotate", "storageclass", "gp3")
    zones = [gpu_node(z, "Tesla-T4", {"nvidia.com/gpu": 1}, topology_kubernetes_io__zone=z)
             for z in ("a", "b")]  # fmt: skip
    early = replace(GP3, late=False)
    assert "Immediate" in findings(report(*zones, classes=(early,)))["storage"].text


@pytest.mark.parametrize(
    ("hard", "id", "level"),
    [
        ({"count/pods": "50"}, "quota-count-pods", "problem"),
        ({"limits.cpu": "50"}, "quota-limits-cpu", "problem"),
        ({"limits.nvidia.com/gpu": "4"}, "quota-unenforced", "note"),
        ({"requests.cpu": "0"}, "quota", "note"),
        ({"requests.nvidia.com/gpu": "4"}, "quota", "ok"),
    ],
)
def test_quotas(hard: dict[str, str], id: str, level: str) -> None:
    own = read_quota({"metadata": {"name": "team"}, "status": {"hard": hard, "used": {}}})
    assert findings(report(quotas=(own,)))[id].level == level


def test_dry_runs_are_told_in_the_servers_words() -> None:
    refused = (Trial("Job", warnings=("would violate",)), Trial("Pod", "violates PodSecurity"))
    levels = [f.level for f in examine(report(trials=refused), load_catalog()) if f.id == "dry-run"]
    assert levels == ["note", "problem"]
    assert findings(report(trials=(Trial("Pod", allowed=False),)))["dry-run"].level == "note"


def test_queues_and_controllers() -> None:
    made = report(queues=(QueueFacts("gpus", "all"),), groups={"jobset.x-k8s.io": ("v1alpha2",)})
    assert "gpus" in findings(made)["queues"].text
    assert "JobSet" in findings(made)["controllers"].text


def test_several_platforms_are_said_and_not_guessed() -> None:
    found = findings(report(NODES["gke"], NODES["eks"]))["platform"]
    assert found.level == "note"
    assert "several platforms" in found.text


def test_what_may_not_be_read_is_not_judged() -> None:
    gaps = tuple(Gap(what, "no") for what in ("nodes", "classes", "namespace"))
    assert set(findings(report(gaps=gaps))) == {"server", "clock", "rights", "dry-run"}


def test_roles_have_every_right_and_are_bound_to_whoever_is_named() -> None:
    own, wide = roles("ml")
    rules = [*own["rules"], *wide["rules"]]
    assert len(rules) == len(RIGHTS)
    assert not any("secrets" in rule["resources"] for rule in rules)
    bindings = roles("ml", "serviceaccount:bot")[2:]
    assert [b["kind"] for b in bindings] == ["RoleBinding", "ClusterRoleBinding"]
    assert bindings[0]["subjects"] == [{"kind": "ServiceAccount", "name": "bot", "namespace": "ml"}]
