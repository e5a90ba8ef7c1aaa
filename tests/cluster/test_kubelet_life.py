"""The test kubelet is faithful: deletion, grace, logs, and nodes that fail."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.cluster.api import ApiError, Json, wait_until
from tests.cluster.cluster import Cluster
from tests.cluster.pods import python_pod

pytestmark = pytest.mark.e2e

OBEDIENT = """
import signal, sys, time
def stop(*_):
    print("asked"); time.sleep(0.2); print("saved"); sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("up")
while True: time.sleep(0.05)
"""
DEAF = "import signal, time; print('up'); time.sleep(1000)"  # pid 1 without a handler hears nothing
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def started(cluster: Cluster, code: str = OBEDIENT, **spec: Any) -> Json:
    cluster.create(python_pod("p", code, **spec))
    wait_until("the first line", lambda: phase(cluster) == "Running" and "up" in cluster.log("p"))
    return cluster.get("Pod", "p")


def phase(cluster: Cluster) -> str | None:
    found = cluster.api.find(cluster.path("Pod", "p"))
    return found["status"].get("phase") if found else None


def seen_states(cluster: Cluster, stop: threading.Event) -> list[Json]:
    """Collect what is told of a pod's container from now on, from a watch."""
    states: list[Json] = []

    def watch() -> None:
        for kind, item in cluster.api.watch(cluster.path("Pod"), stop):
            if kind == "MODIFIED":
                states.extend(c["state"] for c in item["status"].get("containerStatuses", []))

    threading.Thread(target=watch, daemon=True).start()
    return states


@pytest.mark.parametrize(
    ("code", "grace", "exit_code"), [(OBEDIENT, 20, 75), (DEAF, 1, 137)], ids=["obeys", "deaf"]
)
def test_deletion_gives_grace_tells_the_end_then_removes(
    cluster: Cluster, code: str, grace: int, exit_code: int
) -> None:
    cluster.add_node("a")
    started(cluster, code, terminationGracePeriodSeconds=grace)
    stop = threading.Event()
    states = seen_states(cluster, stop)
    cluster.api.delete(cluster.path("Pod", "p"))
    wait_until("the object to go", lambda: phase(cluster) is None)
    ends = wait_until("the end", lambda: [s["terminated"] for s in states if "terminated" in s])
    stop.set()
    assert {end["exitCode"] for end in ends} == {exit_code}


def test_deletion_by_force_kills_at_once(cluster: Cluster) -> None:
    cluster.add_node("a")
    started(cluster, DEAF, terminationGracePeriodSeconds=1000)
    container = cluster.kubelet.pod("p", cluster.namespace).containers["main"]
    cluster.api.delete(cluster.path("Pod", "p"), gracePeriodSeconds=0)
    assert container.ended.wait(60)


def test_a_pod_that_never_started_can_be_deleted(cluster: Cluster) -> None:
    cluster.add_node("a")
    cluster.create(python_pod("p", "", container={"image": "nobody/has:1"}))
    wait_until("the node's word", lambda: cluster.get("Pod", "p")["status"].get("startTime"))
    cluster.api.delete(cluster.path("Pod", "p"))
    wait_until("the object to go", lambda: phase(cluster) is None)


def test_logs_as_the_api_server_asks_for_them(cluster: Cluster) -> None:
    code = "import time\nprint('up')\nfor i in range(5): print(i)\ntime.sleep(1000)"
    cluster.add_node("a")
    started(cluster, code)
    wait_until("all lines", lambda: cluster.log("p").endswith("4\n"))
    path = cluster.path("Pod", "p") + "/log"
    assert cluster.api.text(path, tailLines=2) == "3\n4\n"
    assert cluster.api.text(path, limitBytes=3) == "up\n"
    stamped = cluster.api.text(path, timestamps="true").splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["up", *"01234"]
    assert stamped == sorted(stamped)
    with pytest.raises(ApiError):
        cluster.api.text(path, container="nobody")


def test_logs_are_followed_to_the_end(cluster: Cluster) -> None:
    from kubernetes import client
    from kubernetes import config as loader

    config: Any = loader  # the package has no types

    code = "import time\nprint('up')\nfor i in range(50): print(i); time.sleep(0.01)"
    cluster.add_node("a")
    cluster.create(python_pod("p", code))
    wait_until("the first line", lambda: phase(cluster) in ("Running", "Succeeded"))
    config.load_kube_config(str(cluster.kubeconfig))
    stream: Any = client.CoreV1Api().read_namespaced_pod_log(
        "p", cluster.namespace, follow=True, _preload_content=False
    )
    lines = b"".join(stream.stream()).decode().split()
    assert lines == ["up", *(str(i) for i in range(50))]


def test_a_silent_node_is_noticed_and_obeys_when_it_comes_back(cluster: Cluster) -> None:
    node = cluster.add_node("a")
    started(cluster)
    container = cluster.kubelet.pod("p", cluster.namespace).containers["main"]
    node.fall_silent()
    node.wait_silence_noticed()
    cluster.api.delete(cluster.path("Pod", "p"))
    time.sleep(0.5)  # nothing is to happen
    assert not container.ended.is_set()
    with pytest.raises(ApiError):
        cluster.log("p")
    node.come_back()
    assert container.ended.wait(60)
    wait_until("the object to go", lambda: phase(cluster) is None)
    node.wait_ready()


def test_a_node_without_power_says_nothing(cluster: Cluster) -> None:
    node = cluster.add_node("a")
    cluster.add_node("b").cordon()  # where no node answers at all, Kubernetes evicts nothing
    tolerations = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                    "effect": "NoExecute", "tolerationSeconds": 0}]  # fmt: skip
    started(cluster, tolerations=tolerations)
    container = cluster.kubelet.pod("p", cluster.namespace).containers["main"]
    node.power_off()
    assert container.ended.wait(60)
    assert phase(cluster) == "Running"
    wait_until("the eviction", lambda: cluster.get("Pod", "p")["metadata"].get("deletionTimestamp"))
    assert phase(cluster) == "Running"  # it stays, since nobody confirms its end
    node.taint(OUT_OF_SERVICE, "nodeshutdown", "NoExecute")
    wait_until("the object to go", lambda: phase(cluster) is None)


def test_drain_evicts_and_cordons(cluster: Cluster) -> None:
    node = cluster.add_node("a")
    started(cluster)
    node.drain()
    wait_until("the object to go", lambda: phase(cluster) is None)
    assert cluster.api.get(node.path)["spec"]["unschedulable"]


def test_a_volume_is_made_in_the_zone_of_its_first_pod_and_stays_there(cluster: Cluster) -> None:
    zone = "topology.kubernetes.io/zone"
    cluster.add_node("a", labels={zone: "z-1"})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    cluster.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "metadata": {"name": "c"}, "spec": claim})  # fmt: skip
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}]
    started(cluster, volumes=volumes)
    cluster.node("a").vanish()
    cluster.add_node("b", labels={zone: "z-2"})
    there = {"kubernetes.io/hostname": "b"}  # the scheduler may not have heard that "a" is gone
    cluster.create(python_pod("q", "", volumes=volumes, nodeSelector=there))

    def refused() -> bool:
        found = cluster.get("Pod", "q")["status"].get("conditions", [])
        return any("volume" in c.get("message", "").lower() for c in found)

    wait_until("the scheduler's refusal", refused)
