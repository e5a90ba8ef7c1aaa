"""Runs that are submitted to the test cluster; one is the exact training of tests/runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gpukit.cluster.client import connect
from gpukit.contract import CHECKPOINT_MOUNT
from gpukit.jobfile import load_job
from gpukit.ladder import CHARGED, Cause
from gpukit.render import Bundle
from gpukit.runs.cluster_submit import submit_to_cluster
from gpukit.runs.plan import plan_call
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore
from tests.cluster.api import Json, wait_until
from tests.cluster.cluster import Cluster
from tests.runtime import exactness
from tests.runtime.exactness import Executed

__all__ = ["H100", "ClusterRun", "start_run", "start_training"]

LEASH = 100  # steps, after which it waits to be interrupted
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.present": "true"}

_HEAD = """
import os, threading, time
from gpukit import gpu_job
"""
_TRAINING = """
@gpu_job(profile="h100", spot=True, checkpoints="new:1Gi", platform="generic")
def train(trace: str, pause: float) -> dict:
    if not os.path.exists(f"{trace}.leash"):
        with open(f"{trace}.leash", "wb") as file:
            file.write(bytes(LEASH))
    return main(trace, 0, pause, f"{trace}.leash")
"""


@dataclass
class ClusterRun:
    """A run, and what it leaves on its claim.

    Attributes:
        reference: returns what a run of so many steps without an interruption returns; ``steps``
            is part of it.
        began: for each attempt the newest durable step when the one before had ended.
        every: steps from one save to the next.
        let_end: lets the job end: it is not to be over before it is interrupted.
    """

    cluster: Cluster
    bundle: Bundle
    reference: Callable[[int], dict[str, object]]
    began: dict[int, int] = field(default_factory=lambda: {1: 0})
    every: int = exactness.EVERY
    let_end: Callable[[ClusterRun], None] = lambda _: None

    @property
    def name(self) -> str:
        return self.bundle.run

    @property
    def selector(self) -> str:
        return f"gpukit.dev/run={self.name}"

    @property
    def store(self) -> Path:
        return self.cluster.claim_folder(f"{self.bundle.task.job}-checkpoints") / self.name

    @property
    def trace(self) -> Path:
        return self.store.parent / "trace"

    @property
    def record(self) -> RunRecord:
        return RunRecord(DirectoryStore(self.store))

    def job(self) -> Json:
        """Return the status of the Job."""
        found: Json = self.cluster.get("Job", self.name).get("status", {})
        return found

    def wait_for_steps(self, steps: int) -> Json:
        """Wait until as many steps were executed in all; return the pod that executes them."""

        def running() -> Json | None:
            pods = self.cluster.pods(self.selector, phase="Running", live=True)
            if not pods or not self.trace.exists():
                return None
            executed = Executed.read(self.trace).steps
            newest = len(self.record.attempts())
            mine = [step for attempt, step in executed if attempt == newest >= len(self.began)]
            return pods[0] if mine and len(executed) >= steps else None

        return wait_until(f"{steps} steps of {self.name}", running, every=0.05)

    def interrupt(self, pod: Json, how: Callable[[Json], object]) -> None:
        """Interrupt a pod, and note from where the next attempt is to go on."""
        life = self.cluster.kubelet.pod(pod["metadata"]["name"], self.cluster.namespace)
        how(pod)
        assert life.containers["main"].ended.wait(120), "it was not interrupted"
        self.began[len(self.began) + 1] = exactness.newest_durable(self)
        conditions = self.cluster.conditions("Job", self.name)
        assert "Complete" not in conditions, "complete by accident"

    def wait_for_attempt(self, number: int, **options: float) -> float:
        """Wait until an attempt has begun; return when it did, in unix seconds."""

        def started() -> float | None:
            attempts = self.record.attempts()
            return attempts[number - 1].start.started if len(attempts) >= number else None

        return wait_until(f"attempt {number}", started, every=0.05, **options)

    def check_exact(self, *, killed: bool = False) -> None:
        """Wait for the end; assert that it is that of a run without an interruption.

        Args:
            killed: without notice, so that steps may have been lost: those that have to be.
        """
        self.let_end(self)
        self.cluster.wait_for_job(self.name)
        result = self.record.result()
        assert result is not None
        assert result.value == self.reference(result.value["steps"])
        exactness.check_run(
            self, self.trace, self.began, loss_per_attempt=None if killed else 0,
            total=int(result.value["steps"]),
        )  # fmt: skip
        if killed:
            exactness.check_losses(self.trace, self.began, every=self.every)

    def causes(self) -> list[Cause]:
        """Return how the attempts ended."""
        return [attempt.cause for attempt in self.record.attempts()]

    def charged(self) -> int:
        """Return how many attempts count against ``retries``."""
        return sum(cause in CHARGED for cause in self.causes())


def start_training(cluster: Cluster, folder: Path) -> ClusterRun:
    """Start the exact training job of tests/runtime: dropout, loader, optimizer, scheduler."""

    def reference(_: int) -> dict[str, object]:
        return {"sha256": exactness.reference_weights(), "steps": exactness.STEPS}

    def let_end(run: ClusterRun) -> None:
        os.truncate(f"{run.trace}.leash", exactness.STEPS + 1)

    arguments = {"trace": f"{CHECKPOINT_MOUNT}/trace", "pause": 0.02}
    source = exactness.source() + _TRAINING.replace("LEASH", str(LEASH))
    run = start_run(cluster, folder, source, arguments, reference)
    run.let_end = let_end
    return run


def start_run(
    cluster: Cluster,
    folder: Path,
    source: str,
    arguments: dict[str, object],
    reference: Callable[[int], dict[str, object]] = lambda _: {},
) -> ClusterRun:
    """Submit a job to the cluster that ``KUBECONFIG`` names.

    Args:
        cluster: where.
        folder: for the job file.
        source: of the job file, without its imports.
        arguments: of its function.
        reference: see :class:`ClusterRun`.
    """
    file = folder / "train.py"
    file.write_text(_HEAD + source, encoding="utf-8")
    plan = plan_call(load_job(str(file)), kwargs=arguments)
    submit_to_cluster(plan, connect())
    return ClusterRun(cluster, plan.bundle, reference)
