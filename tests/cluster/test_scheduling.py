"""What the real scheduler makes of the rendered selectors, over the nodes of each platform."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from gpukit.cluster.snapshot import read_snapshot
from gpukit.diagnose import why
from tests.cluster.api import Json, wait_until
from tests.cluster.cluster import Cluster
from tests.cluster.fleet import KINDS, PLATFORMS, fleet
from tests.golden.platforms import PLATFORM_CASES
from tests.samples import bundle, pod_of

pytestmark = pytest.mark.e2e

_TRUE = ("resource-nowhere", "too-many-gpus", "spot-mismatch", "too-big")
_WANTED = dict(zip(("full", "mig", "shared", "multi"), (*KINDS, "whole"), strict=True))


def pod(platform: str, case: str, name: str) -> Json:
    """Return the pod that is rendered for a case, without what it would wait for."""
    spec = pod_of(bundle(**PLATFORM_CASES[f"{platform}/{case}"]))
    unneeded = ("volumes", "volumeMounts")
    containers = [
        {key: value for key, value in container.items() if key not in unneeded}
        for container in spec["containers"]
    ]
    kept = {key: value for key, value in spec.items() if key not in unneeded}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {**kept, "containers": containers, "terminationGracePeriodSeconds": 0},
    }


def landed(cluster: Cluster, names: Iterable[str], *, somewhere: bool = False) -> dict[str, str]:
    """Wait until the scheduler has judged every pod; return the node of each, "" for none.

    Args:
        cluster: where.
        names: of the pods.
        somewhere: wait until each has a node: it may be judged before the scheduler has heard of
            the newest nodes.
    """
    wanted = set(names)

    def judged() -> dict[str, str] | None:
        found = {}
        for item in cluster.items("Pod"):
            conditions = {c["type"]: c for c in item["status"].get("conditions", [])}
            scheduled: dict[str, Any] = conditions.get("PodScheduled", {})
            if scheduled.get("status") == "True":
                found[item["metadata"]["name"]] = item["spec"]["nodeName"]
            elif scheduled.get("reason") == "Unschedulable" and not somewhere:
                found[item["metadata"]["name"]] = ""
        return found if wanted <= set(found) else None

    return wait_until("the scheduler's judgement", judged)


def again(cluster: Cluster, pods: Mapping[str, Json]) -> None:
    """Make pods anew that the scheduler put on a node of whose end it had not heard yet."""
    for name in pods:
        cluster.api.delete(cluster.path("Pod", name), gracePeriodSeconds=0)

    def gone() -> bool:
        return not pods.keys() & {item["metadata"]["name"] for item in cluster.items("Pod")}

    wait_until("them to go", gone)
    cluster.create(*pods.values())


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_pod_lands_on_a_right_node_and_never_on_a_wrong_one(
    cluster: Cluster, platform: str
) -> None:
    cluster.images.remove("pytorch/pytorch")  # only the place counts
    nodes = {node.name: node for node in cluster.add_nodes(*fleet(platform))}
    cases = [name.partition("/")[2] for name in PLATFORM_CASES if name.startswith(f"{platform}/")]
    kinds = {case: _WANTED[case.partition("-")[0]] for case in cases}

    for round_of in sorted({case.partition("-")[0] for case in cases}):
        pods = {case: f"{case}-right" for case in cases if case.startswith(round_of)}
        cluster.create(*(pod(platform, case, name) for case, name in pods.items()))
        where = landed(cluster, pods.values(), somewhere=True)
        for case, name in pods.items():
            capacities = {"spot"} if case.endswith("-spot") else {"demand"}
            if case.endswith("-spot") and platform.startswith("generic"):
                capacities.add("demand")  # no label is common to all spot nodes: preferred only
            right = {f"{kinds[case]}-{capacity}" for capacity in capacities}
            assert where[name] in right, f"{platform}/{case} is on {where[name]!r}"
            cluster.api.delete(cluster.path("Pod", name), gracePeriodSeconds=0)

    vanished = {f"{kind}-{capacity}" for kind in kinds.values() for capacity in ("spot", "demand")}
    for node in sorted(vanished):
        nodes[node].vanish()
    pods = {case: f"{case}-none" for case in cases}
    cluster.create(*(pod(platform, case, name) for case, name in pods.items()))
    where = landed(cluster, pods.values())
    while late := {case for case, name in pods.items() if where[name] in vanished}:
        again(cluster, {pods[case]: pod(platform, case, pods[case]) for case in late})
        where = landed(cluster, pods.values())
    assert {case: where[name] for case, name in pods.items() if where[name]} == {}
    for case, name in pods.items():
        verdict = why(read_snapshot(name, cluster.namespace), name)
        assert verdict is not None, case
        assert verdict.id in _TRUE, f"{case}: {verdict.reason}"
