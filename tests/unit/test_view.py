"""Why attempts ended, from what the cluster still has of their pods."""

from __future__ import annotations

from typing import Any

import pytest

from gpukit.cluster.state import JobState, PodState
from gpukit.ladder import Cause
from gpukit.runs.view import read_view
from gpukit.runtime.record import Attempt, Progress, Start

# https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/kubelet/eviction/helpers.go
LOW = (
    "The node was low on resource: {}. Threshold quantity: 100Mi, available: 81920Ki. "
    "Container main was using 9Gi, request is 8Gi, has larger consumption of {}. "
)


def pod(uid: str, message: str = "", why: str = "", **status: Any) -> PodState:
    conditions = [{"type": "DisruptionTarget", "status": "True", "reason": why}] if why else []
    return PodState({
        "metadata": {"name": f"train-{uid}", "uid": uid},
        "status": {"phase": "Failed", "message": message, "conditions": conditions, **status},
    })  # fmt: skip


def ended(*pods: PodState, cause: Cause = Cause.LOST) -> str:
    kept = [Attempt(Start(1, "a", started=1e9), Progress(updated=1e9 + 60), None, cause)]
    (view,) = read_view(JobState({"metadata": {"name": "train"}}), pods, kept=kept).attempts
    return view.ended_by


@pytest.mark.parametrize("resource", ["memory", "ephemeral-storage", "inodes"])
def test_an_eviction_for_want_of_something_is_named(resource: str) -> None:
    evicted = pod("a", LOW.format(resource, resource), "TerminationByKubelet", reason="Evicted")
    assert ended(evicted) == f"evicted: its node was low on {resource}"
    assert ended(evicted, cause=Cause.PREEMPTED) == f"evicted: its node was low on {resource}"


def test_a_shutdown_of_the_node_is_no_want_of_anything() -> None:
    shut = pod("a", "Pod was terminated in response to imminent node shutdown.",
               "TerminationByKubelet", reason="Terminated")  # fmt: skip
    assert ended(shut) == "ended by the node (pressure or shutdown)"


def test_a_killed_pod_that_said_nothing_is_found_by_its_uid() -> None:
    state = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    statuses = [{"name": "main", "state": state}]
    mine, other = pod("a", containerStatuses=statuses), pod("b", containerStatuses=statuses)
    assert ended(pod("b"), mine) == "out of memory (killed by the kernel)"
    assert ended(other) == "lost"
