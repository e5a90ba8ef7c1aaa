"""A job that costs next to nothing, evicted again and again; also in the form that is documented.

Its state is a chain of digests, so that a step that is lost or done twice changes the end.
"""

from __future__ import annotations

import copy
import hashlib
import time
from datetime import datetime
from pathlib import Path

from gpukit.contract import CHECKPOINT_MOUNT
from tests.runtime.exactness import NOTE_SAVES, newest_durable

from .api import Json, wait_until
from .cluster import Cluster
from .training import ClusterRun, start_run

__all__ = [
    "chained", "classic_form", "evict_and_wait", "evict_and_wait_classic", "finish", "first_line",
    "progressed", "start_chain",
]  # fmt: skip

EVERY = 5
_SOURCE = f"""
import hashlib
from pathlib import Path
from gpukit import Checkpointer, run_info
{NOTE_SAVES}
EVERY = {EVERY}
"""
_SOURCE += """
class Chain:
    digest = ""
    def state_dict(self):
        return {"digest": self.digest}
    def load_state_dict(self, state):
        self.digest = state["digest"]

@gpu_job(profile="h100", spot=True, checkpoints="new:1Gi", platform="generic")
def chain(folder: str) -> dict:
    chain = Chain()
    ckpt = Checkpointer(chain=chain, every_steps=EVERY)
    note_saves(f"{folder}/trace.saves")
    lines = os.open(f"{folder}/trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    done = 0
    for _ in ckpt.epochs(1):
        for step in ckpt.batches(range(1_000_000)):
            chain.digest = hashlib.sha256(f"{chain.digest}{step}".encode()).hexdigest()
            done = step + 1
            os.write(lines, b"%d %d\\n" % (run_info().attempt, done))
            time.sleep(0.02)
            if Path(f"{folder}/finish").exists():
                break
    return {"digest": chain.digest, "steps": done}
"""


def start_chain(cluster: Cluster, folder: Path) -> ClusterRun:
    """Start the job; it ends at the next step after :func:`finish`."""

    def reference(steps: int) -> dict[str, object]:
        return {"digest": chained(steps), "steps": steps}

    def let_end(run: ClusterRun) -> None:
        wait_until("progress", lambda: progressed(run, len(run.began)))
        finish(run)

    arguments: dict[str, object] = {"folder": CHECKPOINT_MOUNT}
    run = start_run(cluster, folder, _SOURCE, arguments, reference)
    run.every, run.let_end = EVERY, let_end
    return run


def finish(run: ClusterRun) -> None:
    """Have the job end at its next step."""
    (run.store.parent / "finish").touch()


def chained(steps: int) -> str:
    """Return the digest after so many steps without an interruption."""
    digest = ""
    for step in range(steps):
        digest = hashlib.sha256(f"{digest}{step}".encode()).hexdigest()
    return digest


def evict_and_wait(cluster: Cluster, run: ClusterRun, pod: Json) -> tuple[float, Json]:
    """Evict a pod; return the seconds until the next one's first log line, and that pod."""
    evicted = time.time()
    run.interrupt(pod, cluster.evict)
    following = wait_for_other(cluster, pod)
    return first_line(cluster, following) - evicted, following


def evict_and_wait_classic(cluster: Cluster, pod: Json) -> tuple[float, Json]:
    """Do the same for a pod of the documented form, once it has worked for a moment."""
    first_line(cluster, pod)
    evicted = time.time()
    cluster.evict(pod)
    following = wait_for_other(cluster, pod)
    return first_line(cluster, following) - evicted, following


def progressed(run: ClusterRun, attempt: int) -> bool:
    """Tell whether an attempt has made a durable step of its own."""
    return len(run.record.attempts()) >= attempt and newest_durable(run) > run.began[attempt]


def wait_for_other(cluster: Cluster, than: Json, patience: float = 700) -> Json:
    """Wait until another pod of the same Job runs; return it."""
    selector = f"batch.kubernetes.io/job-name={than['metadata']['labels']['job-name']}"

    def found() -> Json | None:
        pods = cluster.pods(selector, phase="Running", live=True)
        others = [pod for pod in pods if pod["metadata"]["uid"] != than["metadata"]["uid"]]
        return others[0] if others else None

    return wait_until("the next pod", found, patience=patience, every=0.05)


def first_line(cluster: Cluster, pod: Json) -> float:
    """Return when a pod wrote its first line, in unix seconds."""
    path = cluster.path("Pod", pod["metadata"]["name"]) + "/log"

    def line() -> str:
        return cluster.api.text(path, timestamps="true", limitBytes=64)

    stamp = wait_until("the first line", line, every=0.05).partition(" ")[0]
    return datetime.fromisoformat(f"{stamp[:26]}+00:00").timestamp()


def classic_form(run: ClusterRun) -> list[Json]:
    """Return the same run as the documentation of Kubernetes has it.

    ``Ignore`` on DisruptionTarget, and a backoffLimit that interruptions do not count against
    (kubernetes.io, Pod failure policy). Its name and claim are others than the run's.
    """
    job = copy.deepcopy(run.bundle.to_dicts()[-1])
    job["metadata"]["name"] += "-classic"
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    job["spec"] = {
        "backoffLimit": 6,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [disrupted]}]},
        "template": job["spec"]["template"],
    }
    claim = copy.deepcopy(run.bundle.to_dicts()[1])
    claim["metadata"]["name"] += "-classic"
    for volume in job["spec"]["template"]["spec"]["volumes"]:
        if "persistentVolumeClaim" in volume:
            volume["persistentVolumeClaim"]["claimName"] = claim["metadata"]["name"]
    return [claim, job]
