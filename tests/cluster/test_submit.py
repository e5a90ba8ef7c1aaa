"""``gpukit submit`` and what belongs to it, on a real control plane."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

import gpukit
from gpukit.contract import ANNOTATION_SUBMITTED

from .api import wait_until
from .products import Desk

pytestmark = pytest.mark.e2e


def test_a_run_is_made_followed_shown_and_removed(desk: Desk) -> None:
    file = desk.write()
    checked = desk.gpukit("submit", "--dry-run=server", file)
    assert (checked.code, checked.out) == (0, ""), checked.err
    assert "takes all 3 objects; none was made" in checked.err
    assert not any(desk.objects().values())

    done = desk.gpukit("submit", file, "--steps", 3, "--pause", 1)
    assert (done.code, json.loads(done.out)) == (0, {"total": 6}), done.err
    assert "on n1" in done.err
    assert {"step 1", "step 2", "step 3"} <= set(done.err.splitlines())
    assert "✓ succeeded" in done.err
    run = desk.gpukit("list", "-o", "name").out.strip()

    again = desk.gpukit("submit", file, "--steps", 3, "--pause", 1)
    assert (again.code, json.loads(again.out)) == (0, {"total": 6})
    assert "has finished before" in again.err
    assert len(desk.objects()["Job"]) == 1

    assert json.loads(desk.gpukit("wait", run).out) == {"total": 6}
    shown = json.loads(desk.gpukit("status", "-o", "json", run).out)
    assert (shown["status"], shown["step"], shown["node"]) == ("succeeded", 3, "n1")
    assert [a["ended_by"] for a in shown["attempts"]] == ["finished"]
    assert "step 3" in desk.gpukit("logs", run).out.splitlines()
    assert desk.gpukit("logs", "--tail", 1, run).out.startswith('{"gpukit":"end"')
    assert "SuccessfulCreate" in desk.gpukit("events", run).out
    assert desk.gpukit("download", run).out.strip() == f"{run}/total.txt"
    assert (desk.folder / run / "total.txt").read_text() == "6"

    told = desk.gpukit("interruptions", "-o", "json", run)
    assert told.code == 0, told.err
    record = json.loads(told.out)
    assert [a["cause"] for a in record["attempts"]] == ["finished"]
    assert record["interruptions"] == 0
    listed = desk.gpukit("checkpoints", run)  # this job keeps a file of its own, and none of them
    assert (listed.code, listed.out) == (0, ""), listed.err
    assert f"{run} has no checkpoints" in listed.err

    opened = gpukit.open_run(run, namespace=desk.cluster.namespace)
    assert (opened.status(), opened.result()) == ("succeeded", {"total": 6})

    assert desk.gpukit("delete", run).code == 0
    wait_until("nothing but the claim is left", lambda: _left(desk) == {"PersistentVolumeClaim"})
    gone = desk.gpukit("status", run)
    assert (gone.code, gone.out) == (2, "")
    assert f"there is no run '{run}'" in gone.err


def test_a_failed_run_says_why_and_goes_on_when_submitted_again(desk: Desk) -> None:
    file = desk.write('checkpoints="new:1Gi", cpu=0.1, memory="256Mi", retries=0')
    words = ("submit", file, "--steps", 8, "--every", 1, "--crash-at", 5)
    failed = desk.gpukit(*words)
    assert (failed.code, failed.out) == (4, "")
    assert "ValueError: planned; no further attempt: retries=0 used up" in failed.err
    assert "submit it again to go on from step 4" in failed.err
    assert "Traceback (most recent call last)" in failed.err, "the job's own, in its log"
    [job] = desk.objects()["Job"]
    again = desk.gpukit(*words)
    assert again.code == 4
    assert "goes on from its newest checkpoint" in again.err
    assert "attempt 2 goes on at step 4" in again.err
    [second] = desk.objects()["Job"]
    assert second["metadata"]["name"] == job["metadata"]["name"]
    assert second["metadata"]["uid"] != job["metadata"]["uid"]
    fresh = desk.gpukit("submit", "--fresh", file, "--steps", 8, "--every", 1, "--crash-at", 5)
    assert "goes on at step" not in fresh.err
    assert "begins afresh" in fresh.err


def test_a_run_that_goes_on_is_attached_to_and_can_be_cancelled(desk: Desk) -> None:
    file = desk.write()
    words = (file, "--steps", 10_000, "--pause", 0.1, "--every", 1)
    run = desk.submit(*words)
    desk.cluster.wait_for_pod(f"gpukit.dev/run={run}")
    assert desk.submit(*words) == run
    assert len(desk.objects()["Job"]) == 1
    refused = desk.gpukit("submit", "--fresh", *words)
    assert (refused.code, refused.out) == (2, "")
    assert f"{run} is " in refused.err
    late = desk.gpukit("wait", "--timeout", "1s", run)
    assert (late.code, late.out) == (5, "")
    follower = desk.start("submit", *words)
    wait_until("a step is shown", lambda: "step 3" in (follower.stderr.readline() or ""))  # type: ignore[union-attr]
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    assert follower.returncode == 130
    assert f"gpukit logs -f {run}" in err
    assert f"gpukit cancel {run}" in err

    cancelled = desk.gpukit("cancel", run)
    assert cancelled.code == 0
    assert "left with a checkpoint of step" in cancelled.err
    assert not desk.cluster.pods(f"gpukit.dev/run={run}", live=True)
    assert desk.gpukit("cancel", run).code == 2
    went_on = desk.start("submit", *words)
    wait_until("it goes on", lambda: "goes on at step" in (went_on.stderr.readline() or ""))  # type: ignore[union-attr]
    went_on.send_signal(signal.SIGINT)
    went_on.communicate(timeout=30)
    assert desk.gpukit("cancel", "--now", run).code == 0


def test_two_submissions_at_the_same_moment_make_one_run(desk: Desk) -> None:
    file = desk.write()
    words = ("submit", "--detach", file, "--steps", 3)
    started = [desk.start(*words) for _ in range(4)]
    names = {process.communicate(timeout=120)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    [run] = names
    found = desk.objects()
    assert [len(found[kind]) for kind in ("Job", "ConfigMap", "PersistentVolumeClaim")] == [1, 1, 1]
    assert desk.gpukit("wait", run).code == 0
    desk.cluster.wait_for_job(run)
    uids = {o["uid"] for o in found["ConfigMap"][0]["metadata"]["ownerReferences"]}
    assert uids == {found["Job"][0]["metadata"]["uid"]}
    assert ANNOTATION_SUBMITTED in found["Job"][0]["metadata"]["annotations"]


def test_preemptions_that_are_used_up_and_raised_in_time(desk: Desk) -> None:
    file = desk.write('checkpoints="new:1Gi", cpu=0.1, memory="256Mi", max_preemptions=1')
    run = desk.submit(file, "--steps", 2000, "--pause", 0.1, "--every", 1)
    extended = desk.gpukit("extend", "--preemptions", "+1", run)
    assert "may now be preempted 2 times" in extended.err
    too_far = desk.gpukit("extend", "--preemptions", "+1000", run)
    assert (too_far.code, too_far.out) == (2, "")
    for index in range(3):
        _evict_when_it_steps(desk, run, index)
    ended = desk.gpukit("wait", run)
    assert ended.code == 4
    assert "max_preemptions=2 used up: 3 attempts were preempted" in ended.err
    assert "gpukit extend" in ended.err


def _evict_when_it_steps(desk: Desk, run: str, index: int) -> None:
    key = "batch.kubernetes.io/job-completion-index"

    def stepping() -> dict[str, Any] | None:
        pods = desk.cluster.pods(f"gpukit.dev/run={run}", phase="Running", live=True)
        pod = next((p for p in pods if p["metadata"]["annotations"][key] == str(index)), None)
        return pod if pod and "step " in desk.cluster.log(pod["metadata"]["name"]) else None

    desk.cluster.evict(wait_until(f"a step of index {index}", stepping))


def _left(desk: Desk) -> set[str]:
    return {kind for kind, items in desk.objects().items() if items}
