"""A run on a cluster as it goes on: pods, nodes, interruptions, and what the job writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpukit.cluster.follow import Change, PodLine
from gpukit.cluster.state import PodState
from gpukit.contract import Task

from .view import RunView, make_bar

__all__ = ["ClusterView", "cluster_view"]

_ROUTINE = ("ContainerCreating", "PodInitializing")


class ClusterView(RunView):
    """Turns what happens on the cluster into lines for a person."""

    def take(self, item: PodLine | Change) -> None:
        """Show one line or change."""
        if isinstance(item, PodLine):
            self.line(item.text)
        elif item.pod is not None:
            self._pod(item.kind, item.pod)
        elif item.kind == "gone":
            self.say("the Job is gone", fg="yellow")

    def _pod(self, kind: str, pod: PodState) -> None:
        if kind == "waiting":
            word, words = pod.waiting
            if word not in _ROUTINE:
                self.say(f"{pod.name} waits: {word}" + (f": {words}" if words else ""), fg="yellow")
        elif kind == "scheduled":
            self.say(f"on {pod.node}", dim=True)
        elif kind == "started":
            self._first_step = False
        elif kind == "notice":
            self._interrupted_at = pod.disrupted_at or pod.leaving or self._interrupted_at
            self.say(f"{self._who()}: {pod.disruption or 'told to leave'}", fg="yellow")
        elif kind == "exited":
            self._ended(pod)
        elif kind == "vanished":
            self.say(f"{pod.name} is gone; the end of its log may be missing", fg="yellow")

    def _ended(self, pod: PodState) -> None:
        code = pod.exit_code
        if code == 0 or not pod.over:
            return
        said: dict[str, Any] = dict(pod.message)
        if pod.finished is not None:
            self._interrupted_at = self._interrupted_at or pod.finished
        if code is None:
            self.say(f"{pod.name} was turned away: {pod.end_reason or 'no reason given'}", fg="red")
            return
        if pod.end_reason == "OOMKilled":
            said = {**said, "reason": "out of memory; raise memory="}
        disrupted = pod.disruption is not None
        self.pod_left(code, said, disrupted=disrupted)

    def _who(self) -> str:
        return f"attempt {self._attempt}" if self._attempt else "the pod"


@contextmanager
def cluster_view(task: Task) -> Iterator[ClusterView]:
    """Return a view for stderr: with a bar on a terminal, without one elsewhere."""
    with make_bar() as bar:
        yield ClusterView(task, bar)
