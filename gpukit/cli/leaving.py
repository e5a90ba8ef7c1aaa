"""The last minute of a run that was cancelled: what its pod says before it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from gpukit.cluster.state import PodState
    from gpukit.runs.cluster_run import ClusterRun

__all__ = ["cancel_and_watch"]

_PAUSE = 0.5


def cancel_and_watch(run: ClusterRun, *, now: bool) -> bool:
    """Cancel a run, wait until its Job is gone, and say which step its last checkpoint holds.

    Its pod is watched from before: it may leave at once.

    Returns:
        False where it was not running.
    """
    from gpukit.cluster.follow import Change, ClusterFollower

    follower = ClusterFollower(run.client, run.name, run.namespace, logs=False)
    told = {pod.uid for pod in run.pods() if pod.over}  # earlier attempts
    try:
        items = follower.poll(_PAUSE)
        while follower.job is None and not follower.done:
            items += follower.poll(_PAUSE)
        if not run.cancel(now=now):
            return False
        while items or not follower.done:
            for item in items:
                pod = item.pod if isinstance(item, Change) else None
                if pod is not None and pod.over and pod.uid not in told and pod.message:
                    told.add(pod.uid)
                    _say(pod)
            items = [] if follower.done else follower.poll(_PAUSE)
    finally:
        follower.close()
    return True


def _say(pod: PodState) -> None:
    step = pod.message.get("durable_step")
    words = f"left with a checkpoint of step {step}" if step else "left; nothing is saved"
    output.talk(output.mark(f"▸ {words}"))
