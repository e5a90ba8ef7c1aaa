"""A run is interrupted in every way there is, and ends as if it had not been.

The real controllers decide what follows each interruption; the final weights (or digests) are those
of a run without any, bit by bit, and the run record says where each attempt began.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import pytest

from gpukit.ladder import Cause
from tests.cluster.api import Json, wait_until
from tests.cluster.chain import chained, evict_and_wait, finish, progressed, start_chain
from tests.cluster.cluster import Cluster
from tests.cluster.pods import python_pod
from tests.cluster.test_kubelet_life import OUT_OF_SERVICE
from tests.cluster.training import H100, ClusterRun, start_training

pytestmark = pytest.mark.e2e

GPU = {"nvidia.com/gpu": 1}
FREE = [Cause.PREEMPTED, Cause.FINISHED]
CHARGED = [Cause.LOST, Cause.FINISHED]
TRAINING = ("test_evicted", "test_killed", "test_suspended_and_resumed")


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> ClusterRun:
    """A run with two nodes to be on.

    PyTorch costs each attempt ten seconds of a core, so it trains in some tests and in all of
    them when there is time; else the job is a chain of digests.
    """
    cluster.add_node("a", labels=H100, devices=GPU)
    cluster.add_node("b", labels=H100, devices=GPU)
    if request.node.name in TRAINING or os.environ.get("GPUKIT_SOAK"):
        return start_training(cluster, tmp_path)
    return start_chain(cluster, tmp_path)


def node_of(cluster: Cluster, pod: Json) -> str:
    return cluster.node(pod["spec"]["nodeName"]).name


def test_evicted(cluster: Cluster, run: ClusterRun) -> None:
    run.interrupt(run.wait_for_steps(30), cluster.evict)
    run.check_exact()
    assert run.causes() == FREE
    assert run.job()["failedIndexes"] == "0"


def test_drained(cluster: Cluster, run: ClusterRun) -> None:
    pod = run.wait_for_steps(30)
    run.interrupt(pod, lambda _: cluster.node(node_of(cluster, pod)).drain())
    run.check_exact()
    assert run.causes() == FREE
    first, second = run.record.attempts()
    assert first.start.node != second.start.node


def test_preempted_by_a_pod_of_higher_priority(cluster: Cluster, run: ClusterRun) -> None:
    pod = run.wait_for_steps(30)
    for node in cluster.kubelet.nodes:
        node.cordon(node.name != node_of(cluster, pod))  # else the other node would do
    name = f"urgent-{cluster.namespace}"
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    urgent = python_pod(
        "urgent", "import time; time.sleep(1000)", container=limits, priorityClassName=name,
        terminationGracePeriodSeconds=0,
    )  # fmt: skip
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": name}, "value": 1000}  # fmt: skip
    cluster.create(priority)
    wait_until("the class to be known", lambda: not cluster.refusal(urgent))
    run.interrupt(pod, lambda _: cluster.create(urgent))
    cluster.wait_for_pod(run.selector, phase="Pending")
    cluster.api.delete(cluster.path("Pod", "urgent"))
    run.check_exact()
    assert run.causes() == FREE


def test_its_node_is_deleted(cluster: Cluster, run: ClusterRun) -> None:
    pod = run.wait_for_steps(30)
    run.interrupt(pod, lambda _: cluster.node(node_of(cluster, pod)).vanish())
    run.check_exact(killed=True)
    assert run.causes() == FREE  # by the index, since the pod had no last word
    assert run.charged() == 0


def test_its_node_falls_silent_and_is_declared_out_of_service(
    cluster: Cluster, run: ClusterRun
) -> None:
    pod = run.wait_for_steps(30)
    node = cluster.node(node_of(cluster, pod))
    run.interrupt(pod, lambda _: node.power_off())
    node.wait_silence_noticed()
    assert [p["metadata"]["name"] for p in cluster.pods(run.selector, live=True)] == [
        pod["metadata"]["name"]
    ]  # no second writer while nobody knows
    node.taint(OUT_OF_SERVICE, "nodeshutdown", "NoExecute")
    run.check_exact(killed=True)
    assert run.causes() == FREE


def test_killed(cluster: Cluster, run: ClusterRun) -> None:
    run.interrupt(run.wait_for_steps(30), cluster.kill)
    run.check_exact(killed=True)
    assert run.causes() == CHARGED
    assert not run.job().get("failedIndexes")  # its index was not burned


def test_out_of_memory(cluster: Cluster, run: ClusterRun) -> None:
    run.interrupt(run.wait_for_steps(30), lambda pod: cluster.kill(pod, oom=True))
    run.check_exact(killed=True)
    assert run.causes() == CHARGED


def test_killed_more_often_than_retries_allow(cluster: Cluster, run: ClusterRun) -> None:
    for steps in (30, 60):
        run.interrupt(run.wait_for_steps(steps), cluster.kill)
    found = cluster.wait_for_job(run.name, "Failed")
    assert found["reason"] == "PodFailurePolicy"
    assert "exit code 64" in found["message"]
    assert run.record.result() is None


def test_suspended_and_resumed(cluster: Cluster, run: ClusterRun) -> None:
    path = cluster.path("Job", run.name)
    pod = run.wait_for_steps(30)
    run.interrupt(pod, lambda _: cluster.api.patch(path, {"spec": {"suspend": True}}))
    wait_until("the pod to go", lambda: not cluster.pods(run.selector))
    cluster.api.patch(path, {"spec": {"suspend": False}})
    run.check_exact()
    assert run.charged() == 0
    assert not run.job().get("failedIndexes")  # its index was not burned


def test_twenty_interruptions_in_a_row_cost_the_same_each(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_node("a", labels=H100, devices=GPU)
    run = start_chain(cluster, tmp_path)
    pod = cluster.wait_for_pod(run.selector)
    seconds = []
    for number in range(1, 21):
        wait_until("progress", lambda n=number: progressed(run, n))  # type: ignore[misc]
        waited, pod = evict_and_wait(cluster, run, pod)
        seconds.append(waited)
    wait_until("progress", lambda: progressed(run, 21))
    finish(run)
    cluster.wait_for_job(run.name)

    result = run.record.result()
    assert result is not None
    assert result.value["digest"] == chained(result.value["steps"])
    assert run.causes() == [*[Cause.PREEMPTED] * 20, Cause.FINISHED]
    assert run.job()["failedIndexes"] == "0-19"
    starts = {a.number: a.progress.start_step for a in run.record.attempts()}
    assert starts == run.began
    # The least of the last: a machine that has other work to do makes others jump.
    assert min(seconds[-5:]) <= 1.5 * median(seconds[:5]), seconds
