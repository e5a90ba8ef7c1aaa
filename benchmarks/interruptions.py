"""Seconds from an eviction to the next attempt's first log line, here and in the documented form.

    python -m benchmarks.interruptions [-n 20] [--classic 4] [--check]

One small job runs twice at the same time on the same real control plane (tests/cluster): as gpukit
renders it, and with ``Ignore`` on DisruptionTarget, as the documentation of Kubernetes has it. Both
are evicted again and again through the API. The documented form waits 10 s, 20 s, 40 s and so on up
to ten minutes, so by default it is evicted four times only; the rest would take hours.
With ``--check`` the exit code is 1 where our last wait is more than 1.5 × our first.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median

from tests.cluster.api import Json, wait_until
from tests.cluster.build import NotBuilt, binaries
from tests.cluster.chain import (
    chained,
    classic_form,
    evict_and_wait,
    evict_and_wait_classic,
    finish,
    progressed,
    start_chain,
)
from tests.cluster.cluster import Cluster, Machine
from tests.cluster.controlplane import ControlPlane
from tests.cluster.training import H100, ClusterRun

__all__ = ["main"]

FLAT = 1.5


def ladder(cluster: Cluster, run: ClusterRun, times: int) -> list[float]:
    """Evict the run as gpukit renders it; return the seconds of each interruption."""
    pod = cluster.wait_for_pod(run.selector + f",job-name={run.name}")
    waits = []
    for attempt in range(1, times + 1):
        wait_until("progress", lambda n=attempt: progressed(run, n))  # type: ignore[misc]
        seconds, pod = evict_and_wait(cluster, run, pod)
        waits.append(seconds)
    wait_until("progress", lambda: progressed(run, times + 1))
    finish(run)
    cluster.wait_for_job(run.name)
    result = run.record.result()
    if result is None or result.value["digest"] != chained(result.value["steps"]):
        raise SystemExit("the interrupted run ended otherwise than an uninterrupted one")
    return waits


def classic(cluster: Cluster, job: str, times: int) -> list[float]:
    """Evict the documented form; return the seconds of each interruption."""
    pod: Json = cluster.wait_for_pod(f"job-name={job}")
    waits = []
    for _ in range(times):
        seconds, pod = evict_and_wait_classic(cluster, pod)
        waits.append(seconds)
    return waits


def _in_thread(work: Callable[[], list[float]], into: dict[str, list[float]], name: str) -> None:
    into[name] = work()


def measure(times: int, classic_times: int) -> dict[str, list[float]]:
    """Run both at the same time and return the waits of each."""
    plane = ControlPlane(binaries()).start()
    machine = Machine(plane.api, plane.kubeconfig, plane)
    found: dict[str, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            cluster = Cluster(machine, Path(folder))
            os.environ["KUBECONFIG"] = str(cluster.kubeconfig)
            for name in ("a", "b"):
                cluster.add_node(name, labels=H100, devices={"nvidia.com/gpu": 1})
            run = start_chain(cluster, Path(folder))
            claim, job = classic_form(run)
            cluster.create(claim, job)
            name = job["metadata"]["name"]
            beside = threading.Thread(
                target=_in_thread,
                args=(lambda: classic(cluster, name, classic_times), found, "classic"),
            )
            beside.start()
            _in_thread(lambda: ladder(cluster, run, times), found, "ladder")
            beside.join()
    finally:
        machine.stop()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table of ratios, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20, help="evictions of the run")
    parser.add_argument("--classic", type=int, default=4, help="evictions of the documented form")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless it stays flat")
    options = parser.parse_args(arguments)
    try:
        found = measure(options.n, options.classic)
    except NotBuilt as reason:
        print(reason, file=sys.stderr)
        return 0
    ours, theirs = found["ladder"], found["classic"]
    print("seconds from eviction to the next attempt's first log line")
    print("eviction   gpukit   Ignore   ratio")
    for number, seconds in enumerate(ours, start=1):
        other = theirs[number - 1] if number <= len(theirs) else None
        beside = "       –       –" if other is None else f"{other:8.1f} {seconds / other:7.2f}"
        print(f"{number:8d} {seconds:8.2f} {beside}")
    flat = ours[-1] / ours[0]
    print(f"last / first: {flat:.2f}, of medians of five: {_medians(ours):.2f}")
    print(f"the documented form, last / first: {theirs[-1] / theirs[0]:.2f}")
    return 1 if options.check and flat > FLAT else 0


def _medians(waits: list[float]) -> float:
    return median(waits[-5:]) / median(waits[:5])


if __name__ == "__main__":
    sys.exit(main())
