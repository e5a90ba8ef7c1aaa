"""A submission on a bad day: killed after every request, answers lost, servers that balk."""

from __future__ import annotations

import json

import pytest

from .api import wait_until
from .products import Desk
from .proxy import FaultProxy

pytestmark = pytest.mark.e2e


def test_killed_after_every_request_of_a_submission(desk: Desk, proxy: FaultProxy) -> None:
    file = desk.write()
    via = {"KUBECONFIG": str(proxy.kubeconfig)}
    desk.submit(file, "--steps", 1, **via)
    requests = len(proxy.seen)
    assert 6 <= requests <= 15, [f"{s.method} {s.path}" for s in proxy.seen]
    for nth in range(1, requests + 1):
        steps = nth + 1  # a run of its own each time
        words = ("submit", "--detach", file, "--steps", steps)
        killed = desk.start(*words, **via)
        proxy.call(killed.kill, nth=nth)
        killed.communicate(timeout=120)
        again = desk.gpukit(*words)
        assert again.code == 0, again.err
        run = again.out.strip()
        assert desk.gpukit("wait", run).code == 0, f"killed after request {nth}"
        found = desk.objects()
        assert [j["metadata"]["name"] for j in found["Job"]].count(run) == 1
        assert len(found["ConfigMap"]) == 1
        assert len(found["PersistentVolumeClaim"]) == 1
        owners = {o["uid"] for o in found["ConfigMap"][0]["metadata"]["ownerReferences"]}
        assert {j["metadata"]["uid"] for j in found["Job"]} <= owners, "it goes with the last Job"
    for name in desk.gpukit("list", "-o", "name").out.split():
        assert desk.gpukit("delete", name).code == 0
    wait_until("no litter", lambda: not {k for k, v in desk.objects().items() if v}
               - {"PersistentVolumeClaim"})  # fmt: skip


def test_answers_that_are_lost_submit_nothing_twice(desk: Desk, proxy: FaultProxy) -> None:
    file = desk.write()
    proxy.answer(429, headers={"Retry-After": "1"}, method="POST", path="/jobs")
    proxy.answer(503, method="POST", path="/configmaps", times=2)
    proxy.reset(method="POST", path=r"/jobs\?(?!.*dryRun)", acted=True)
    proxy.answer(500, method="POST", path=r"/configmaps\?(?!.*dryRun)", acted=True)
    proxy.reset(method="GET", path="/version")
    done = desk.gpukit("submit", file, "--steps", 3, KUBECONFIG=str(proxy.kubeconfig))
    assert (done.code, json.loads(done.out)) == (0, {"total": 6}), done.err
    assert "goes on already" not in done.err, "it is this submission's own, though nobody said so"
    found = desk.objects()
    assert [len(found[kind]) for kind in ("Job", "ConfigMap", "PersistentVolumeClaim")] == [1, 1, 1]


def test_a_budget_is_raised_once_whatever_became_of_the_answer(
    desk: Desk, proxy: FaultProxy
) -> None:
    file = desk.write('checkpoints="new:1Gi", cpu=0.1, memory="256Mi", max_preemptions=1')
    run = desk.submit(file, "--steps", 10_000, "--pause", 0.1)
    for allowed in (2, 3):
        if allowed == 2:
            proxy.answer(409, method="PATCH", path="/jobs/")  # the Job has changed meanwhile
        else:
            proxy.reset(method="PATCH", path="/jobs/", acted=True)  # the answer is lost
        words = ("extend", "--preemptions", "+1", run)
        extended = desk.gpukit(*words, KUBECONFIG=str(proxy.kubeconfig))
        assert extended.code == 0, extended.err
        assert f"may now be preempted {allowed} times" in extended.err
        assert proxy.pending() == 0
        assert desk.cluster.get("Job", run)["spec"]["maxFailedIndexes"] == allowed
    assert desk.gpukit("cancel", "--now", run).code == 0


def test_a_watch_that_is_cut_and_one_that_is_too_old(desk: Desk, proxy: FaultProxy) -> None:
    run = desk.submit(desk.write(), "--steps", 30, "--pause", 0.1)
    for _ in range(2):
        proxy.cut(path="watch=", lines=1)
        proxy.expire(path="watch=")
    via = {"KUBECONFIG": str(proxy.kubeconfig)}
    done = desk.gpukit("logs", "-f", run, **via)
    assert done.code == 0, done.err
    steps = [line for line in done.out.splitlines() if line.startswith("step ")]
    assert steps == [f"step {n}" for n in range(1, 31)]
    proxy.answer(403, message='jobs.batch is forbidden: User "u" cannot get resource "jobs" in API '
                 'group "batch" in the namespace "x"', path="/jobs/")  # fmt: skip
    refused = desk.gpukit("status", run, **via)
    assert (refused.code, refused.out) == (1, "")
    assert 'the verb get on jobs (API group "batch")' in refused.err
    assert "Traceback" not in refused.err


def test_a_hundred_thousand_lines_over_ten_cuts(desk: Desk, proxy: FaultProxy) -> None:
    file = desk.folder / "many.py"
    file.write_text(
        "from gpukit import gpu_job\n\n"
        "@gpu_job(cpu=0.1, memory='256Mi', checkpoints='new:1Gi')\n"
        "def many(lines: int) -> int:\n"
        "    for number in range(lines):\n"
        "        print('line', number)\n"
        "    return lines\n"
    )
    run = desk.submit(file, "--lines", 100_000)
    for _ in range(10):
        proxy.cut(path="/log", lines=7_001)
    done = desk.gpukit("logs", "-f", run, KUBECONFIG=str(proxy.kubeconfig))
    assert done.code == 0, done.err
    got = [line for line in done.out.splitlines() if line.startswith("line ")]
    assert got == [f"line {number}" for number in range(100_000)]
    assert sum(seen.fault == "cut" for seen in proxy.seen) == 10


def test_the_rest_of_a_log_whose_pod_is_gone_comes_from_the_store(
    desk: Desk, proxy: FaultProxy
) -> None:
    run = desk.submit(desk.write(), "--steps", 40)
    assert desk.gpukit("wait", run).code == 0
    [pod] = desk.cluster.pods(f"gpukit.dev/run={run}")
    path = f"/pods/{pod['metadata']['name']}/log"
    proxy.cut(path=path, lines=13)
    proxy.answer(404, path=path, times=-1)
    done = desk.gpukit("logs", "-f", run, KUBECONFIG=str(proxy.kubeconfig))
    assert done.code == 0, done.err
    steps = [line for line in done.out.splitlines() if line.startswith("step ")]
    assert steps == [f"step {n}" for n in range(1, 41)], "none lost or doubled at the seam"
