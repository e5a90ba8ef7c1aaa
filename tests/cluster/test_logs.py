"""Logs of pods that live, of pods that are gone, and over a connection that is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpukit.runtime.checkpoint.engine import SyncEngine, Writer
from gpukit.runtime.store import DirectoryStore

from .api import wait_until
from .products import Desk

pytestmark = pytest.mark.e2e


def test_logs_of_an_evicted_attempt_come_from_the_store(desk: Desk) -> None:
    run = desk.submit(desk.write(), "--steps", 60, "--pause", 0.1, "--every", 1, "--holds", 1)
    followed = []
    with desk.start("logs", "-f", run) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        pod = desk.cluster.wait_for_pod(f"gpukit.dev/run={run}")
        for line in follower.stdout:
            followed.append(line.rstrip("\n"))
            if line == "step 5\n":  # it follows; what comes now, it must not miss
                try:
                    desk.cluster.evict(pod)
                except BaseException:
                    follower.kill()
                    raise
        err = follower.stderr.read()
    assert follower.returncode == 0, err
    steps = [line for line in followed if line.startswith("step ")]
    assert steps == [f"step {n}" for n in range(1, 61)], "each line once, over both attempts"

    first = desk.gpukit("logs", "--attempt", 1, run)
    second = desk.gpukit("logs", "--attempt", 2, run)
    kept = [line for line in first.out.splitlines() if line.startswith("step ")]
    rest = [line for line in second.out.splitlines() if line.startswith("step ")]
    assert kept + rest == steps
    assert "through a pod of its own" in first.err
    assert json.loads(first.out.splitlines()[0])["gpukit"] == "attempt"
    assert not [p for p in desk.cluster.pods() if "reader" in p["metadata"]["name"]]
    gone = desk.gpukit("logs", "--attempt", 9, run)
    assert (gone.code, gone.out) == (1, "")
    assert "the log of attempt 9" in gone.err


def test_status_tells_of_attempts_whose_pods_are_gone(desk: Desk) -> None:
    run = desk.submit(desk.write(), "--steps", 2000, "--pause", 0.1, "--every", 1)
    pod = desk.cluster.wait_for_pod(f"gpukit.dev/run={run}")
    wait_until("some steps", lambda: "step 5\n" in desk.cluster.log(pod["metadata"]["name"]))
    desk.cluster.evict(pod)

    def second() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(desk.gpukit("status", "-o", "json", run).out)
        attempts = found["attempts"]
        ready = len(attempts) == 2 and attempts[1]["until_first_step"]["first_step"] is not None
        return found if ready else None

    shown = wait_until("the second attempt", second)
    first, again = shown["attempts"]
    assert first["ended_by"] == "preempted"
    assert again["start_step"] == first["end_step"] >= 5
    assert again["until_first_step"]["detection"] < 30
    assert shown["preemptions"] == 1
    assert shown["checkpoint"]["step"] >= again["start_step"]


def test_a_run_whose_pods_are_all_gone_is_told_of_by_its_store(desk: Desk) -> None:
    job, flags = desk.write(), ("--steps", 5, "--pause", 0.01, "--every", 1)
    run = desk.submit(job, *flags)
    desk.cluster.wait_for_job(run, "Complete")
    before = desk.gpukit("submit", job, *flags)
    desk.cluster.kubectl("delete", "pods", "--all")
    shown = desk.gpukit("status", "-o", "json", run)
    assert "through a pod of its own" in shown.err
    told = json.loads(shown.out)
    assert told["status"] == "succeeded"
    assert [(a["attempt"], a["end_step"]) for a in told["attempts"]] == [(1, 5)]
    lines = desk.gpukit("logs", "--tail", 100, run).out.splitlines()
    assert [line for line in lines if line.startswith("step ")][-1] == "step 5"
    after = desk.gpukit("submit", job, *flags)
    assert (after.code, after.out) == (0, before.out)
    assert after.out.strip() not in ("", "null")


def test_checkpoints_on_a_claim_are_listed_and_verified_through_a_pod(desk: Desk) -> None:
    torch = pytest.importorskip("torch")
    run = desk.submit(desk.write(), "--steps", 5, "--pause", 0.01, "--every", 1)
    desk.cluster.wait_for_job(run, "Complete")
    folder = desk.cluster.claim_folder("count-checkpoints") / run
    saver = SyncEngine(DirectoryStore(folder), Writer(run, 1))
    for step in (1, 2):
        saver.save(step, {"weights": torch.rand(1000)})
    listed = desk.gpukit("checkpoints", "-o", "json", run)
    assert "through a pod of its own" in listed.err
    assert [(c["step"], c["state"]) for c in json.loads(listed.out)["checkpoints"]] == [
        (2, "complete"),
        (1, "complete"),
    ]
    file = next(folder.glob("checkpoints/*2.a*/*.safetensors"))
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    verified = desk.gpukit("checkpoints", "--verify", "-o", "json", run)
    assert verified.code == 3
    assert [c["state"] for c in json.loads(verified.out)["checkpoints"]] == ["damaged", "intact"]
    assert not [p for p in desk.cluster.pods() if "reader" in p["metadata"]["name"]]
