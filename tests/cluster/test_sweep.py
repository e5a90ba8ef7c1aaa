"""Many runs of one job."""

from __future__ import annotations

import json

import pytest

from .api import wait_until
from .products import Desk

pytestmark = pytest.mark.e2e

_SHARED = 'checkpoints="pvc:kept", cpu=0.1, memory="256Mi"'


@pytest.fixture
def claimed(desk: Desk) -> Desk:
    """Return the folder of a user who has a claim that several nodes can mount."""
    desk.cluster.create({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "shared",
                 "resources": {"requests": {"storage": "1Gi"}}},
    })  # fmt: skip
    return desk


def test_a_grid_is_submitted_followed_and_submitted_again(claimed: Desk) -> None:
    desk, file = claimed, claimed.write(_SHARED)
    words = ("submit", "--sweep", "steps=1..3", "--sweep", "every=5,7", file)
    done = desk.gpukit(*words)
    assert (done.code, done.out) == (0, ""), done.err
    assert "6 made, 0 there before" in done.err
    assert "6 succeeded" in done.err
    listed = json.loads(desk.gpukit("list", "-o", "json").out)
    [sweep] = {row["sweep"] for row in listed}
    assert len(json.loads(desk.gpukit("list", "--sweep", sweep, "-o", "json").out)) == 6
    results = [json.loads(desk.gpukit("wait", row["run"]).out)["total"] for row in listed]
    assert sorted(results) == [1, 1, 3, 3, 6, 6]
    found = desk.objects()
    assert len(found["ConfigMap"]) == 1
    owners = {o["uid"] for o in found["ConfigMap"][0]["metadata"]["ownerReferences"]}
    assert owners == {job["metadata"]["uid"] for job in found["Job"]}
    again = desk.gpukit(*words)
    assert again.code == 0
    assert "0 made, 6 there before" in again.err
    single = desk.gpukit("submit", file, "--steps", 2, "--every", 7)
    assert "has finished before" in single.err, "a point of a sweep is a run like any other"


def test_so_many_at_a_time_and_all_cancelled(claimed: Desk) -> None:
    desk, file = claimed, claimed.write(_SHARED)
    words = ("--sweep", "steps=100..103", "--max-parallel", 1)
    waiting = desk.start("submit", *words, file, "--pause", 1)
    wait_until("four runs", lambda: len(desk.objects()["Job"]) == 4)
    wait_until("one of them runs", lambda: len(desk.cluster.pods(phase="Running")) == 1)
    assert sum(bool(j["spec"].get("suspend")) for j in desk.objects()["Job"]) == 3
    [sweep] = {row["sweep"] for row in json.loads(desk.gpukit("list", "-o", "json").out)}
    waiting.kill()
    waiting.communicate()
    cancelled = desk.gpukit("cancel", "--sweep", sweep)
    assert "4 of 4 runs are asked to save and leave" in cancelled.err
    wait_until("none is left", lambda: not desk.objects()["Job"])
    refused = desk.gpukit("cancel", "--sweep", "no-such")
    assert (refused.code, refused.out) == (2, "")


def test_a_sweep_on_one_new_volume_is_refused(desk: Desk) -> None:
    refused = desk.gpukit("submit", "--sweep", "steps=1..3", desk.write())
    assert (refused.code, refused.out) == (2, "")
    assert "one volume of one node" in refused.err
    assert not any(desk.objects().values())
