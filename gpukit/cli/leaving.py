"""The last minute of a run that was cancelled: what its pod says before it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from gpukit.cluster.state import PodState
    from gpukit.runs.cluster_run import ClusterRun

__all__ = ["watch_leave"]


def watch_leave(run: ClusterRun) -> None:
    """Wait until the run's Job is gone, and say which step its last checkpoint holds."""
    from gpukit.cluster.follow import Change, ClusterFollower

    follower = ClusterFollower(run.client, run.name, run.namespace, logs=False)
    told: set[str] = set()
    try:
        while not follower.done:
            for item in follower.poll(0.5):
                pod = item.pod if isinstance(item, Change) else None
                if pod is not None and pod.over and pod.uid not in told and pod.message:
                    told.add(pod.uid)
                    _say(pod)
    finally:
        follower.close()


def _say(pod: PodState) -> None:
    step = pod.message.get("durable_step")
    words = f"left with a checkpoint of step {step}" if step else "left; nothing is saved"
    output.talk(output.mark(f"▸ {words}"))
