"""A run on a cluster: all that is known of it comes from the cluster's objects and its store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpukit.cluster.client import Client
from gpukit.cluster.errors import ApiError
from gpukit.cluster.follow import ClusterFollower, PodLine
from gpukit.cluster.podlog import PodLog
from gpukit.cluster.reader import delete_all
from gpukit.cluster.state import JobState, PodState
from gpukit.contract import CONTAINER, LABEL_RUN
from gpukit.errors import (
    ClusterError,
    RunFailedError,
    StoreError,
    UsageError,
    WaitTimeoutError,
)
from gpukit.runtime.record import Attempt, RunRecord

from .endings import ending_of
from .handle import Run, Status
from .store_access import download_outputs, kept_log, kept_record
from .view import RunView, read_view

__all__ = ["ClusterRun"]

_HEAD_BYTES = 256 * 1024  # of a log, for its first lines
_TAIL_LINES = 300
_POLL = 0.5
_KILL_GRACE = 1
_TRIES = 10  # of a change, while the Job changes


class ClusterRun(Run):
    """A run on a cluster.

    Args:
        client: of the API server.
        name: of the run.
        namespace: of the run.
    """

    where = "cluster"

    def __init__(self, client: Client, name: str, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self._name = name
        self._record: RunRecord | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self._name

    def job(self) -> JobState | None:
        """Return the Job; None where it is gone."""
        raw = self.client.get("Job", self.name, self.namespace)
        return None if raw is None else JobState(raw)

    def pods(self) -> list[PodState]:
        """Return its pods that the cluster still has, oldest first."""
        found = self.client.list("Pod", self.namespace, labels=f"{LABEL_RUN}={self.name}")
        return sorted(map(PodState, found), key=lambda pod: pod.created or 0.0)

    def view(self) -> RunView:
        """Return all that can be said of the run; its store is asked where no pod can tell.

        Raises:
            UsageError: the run is gone.
        """
        job, pods = self._job(), self.pods()
        log = self._edges(pods[-1]) if pods and pods[-1].started else []
        record = self._kept_record(job, pods)
        kept = record.attempts() if record else ()
        return read_view(job, pods, log, time.time(), kept)

    def status(self) -> Status:
        """Return where the run stands; a run whose Job was deleted counts as interrupted."""
        job = self.job()
        return "interrupted" if job is None else job.phase

    def reason(self) -> str:
        """Return why the run failed or was interrupted, in a sentence; empty if it did not."""
        job = self.job()
        if job is None:
            return "its Job was deleted"
        ending = ending_of(read_view(job, self.pods()))
        return ending.reason if ending else ""

    def wait(self, timeout: float | None = None) -> Status:
        """Wait for the end of the run, and return how it ended."""
        until = None if timeout is None else time.monotonic() + timeout
        follower = ClusterFollower(self.client, self.name, self.namespace, logs=False)
        try:
            while not follower.done:
                left = _POLL if until is None else min(_POLL, until - time.monotonic())
                if left <= 0:
                    raise WaitTimeoutError(
                        "wait-timeout", f"{self.name} still goes on after {timeout:g} s",
                        "wait longer; the run goes on",
                    )  # fmt: skip
                follower.poll(left)
        finally:
            follower.close()
        return "interrupted" if follower.job is None else follower.job.phase

    def value(self) -> Any:
        """Return what the function returned; None before, or where nobody is left to tell."""
        pods, job = self.pods(), self.job()
        told = [pod.message for pod in pods if pod.message.get("cause") == "finished"]
        if told and not told[-1].get("result_omitted"):
            return told[-1].get("result")
        record = self._kept_record(job, () if told else pods) if job is not None else None
        result = record.result() if record else None
        return result.value if result else None

    def failure(self) -> RunFailedError:
        """Return the error that says why there is no result."""
        job = self.job()
        if job is None:
            return RunFailedError(
                "run-interrupted", f"{self.name} was interrupted: its Job was deleted",
                "submit it again to go on from its newest checkpoint",
            )  # fmt: skip
        ending = ending_of(self.view())
        if ending is None:
            return RunFailedError(
                "run-goes-on", f"{self.name} is {job.phase}", f"gpukit wait {self.name}"
            )
        return RunFailedError("run-failed", f"{self.name} failed: {ending.reason}", ending.hint)

    def attempts(self) -> list[Attempt]:
        """Return the attempts that are known, oldest first."""
        return [view.attempt for view in self.view().attempts]

    def logs(self, attempt: int | None = None) -> str:
        """Return what an attempt wrote; the newest one by default.

        Raises:
            UsageError: no pod has started.
            StoreError: pod and store have nothing of it.
        """
        return "".join(f"{line}\n" for line in self.log_lines(attempt))

    def log_lines(
        self, attempt: int | None = None, *, since: str | None = None, tail: int | None = None
    ) -> Iterator[str]:
        """Yield the lines of an attempt's pod, as far as it has come.

        Lines of a pod that is gone come from the store, without times: ``since`` is passed over.

        Raises:
            UsageError: no pod has started.
            StoreError: pod and store have nothing of it.
        """
        pod = self._pod_of(attempt)
        if pod is None:
            yield from self._kept(attempt or self._newest_kept(self.pods()), tail)
            return
        log = PodLog(self.client, pod.name, self.namespace)
        for _, line in log.lines(lambda: True, since=since, tail=tail):
            yield line.decode(errors="replace").rstrip("\n")

    def follow(self) -> Iterator[str]:
        """Yield the lines that the run's attempts write, until the run ends."""
        follower = self.follower()
        try:
            while not follower.done:
                for item in follower.poll(_POLL):
                    if isinstance(item, PodLine):
                        yield item.text
        finally:
            follower.close()

    def follower(self) -> ClusterFollower:
        """Return what reads lines and changes as they come; logs of lost pods from the store."""
        return ClusterFollower(
            self.client, self.name, self.namespace, kept=lambda attempt: self._kept(attempt, None)
        )

    def cancel(self, *, now: bool = False) -> bool:
        """Delete the Job; its pod saves a checkpoint before it leaves, within its grace period.

        The Job stays, as ``stopping``, until the pod has left.
        """
        job = self.job()
        if job is None or job.over:
            return False
        self.client.delete(
            "Job", job.name, job.namespace, uid=job.uid, propagation="Foreground"
        )  # fmt: skip
        if now:
            for pod in self.pods():
                if not pod.over:
                    self.client.delete(
                        "Pod", pod.name, self.namespace, uid=pod.uid, grace=_KILL_GRACE
                    )
        return True

    def delete(self, *, checkpoints: bool = False) -> None:
        """Delete the Job, and with it its pods and its code.

        Raises:
            UsageError: it goes on.
        """
        job = self._job()
        if not job.over:
            raise UsageError(
                "run-goes-on", f"{self.name} is {job.phase}", f"`gpukit cancel {self.name}` first"
            )
        if checkpoints:
            delete_all(self.client, job, tell=self.client.tell)
        self.client.delete("Job", job.name, job.namespace, uid=job.uid)

    def download(self, target: Path) -> list[Path]:
        """Copy what the function left in ``gpukit.output_dir()`` to ``target``."""
        return download_outputs(
            self.client, self._job(), target, node=self.node(), tell=self.client.tell
        )

    def node(self) -> str:
        """Return the node that the run is on; "" where no pod of it lives."""
        pods = [pod for pod in self.pods() if not pod.over]
        return pods[-1].node if pods else ""

    def extend(self, preemptions: int) -> int:
        """Allow so many preemptions more; return how many there may be now.

        Raises:
            UsageError: it has ended, or Kubernetes allows no more.
        """
        job, tries = self._job(), 0
        while True:
            wanted, tries = self._extended(job, preemptions), tries + 1
            change = {
                "metadata": {"resourceVersion": job.version}, "spec": {"maxFailedIndexes": wanted}
            }  # fmt: skip
            try:
                self.client.patch("Job", job.name, job.namespace, change)
                return wanted
            except ApiError as error:
                if error.status != 409 or tries == _TRIES:
                    raise
            job = self._job()  # its status has changed meanwhile, or the answer was lost
            if job.max_preemptions == wanted:
                return wanted

    def _extended(self, job: JobState, preemptions: int) -> int:
        """Return how many preemptions there may be with so many more."""
        if job.over or job.max_preemptions is None:
            raise UsageError(
                "run-over", f"{self.name} has {job.phase}: no budget of it can be raised",
                "submit it again: that goes on from its newest checkpoint with new budgets",
            )  # fmt: skip
        wanted = job.max_preemptions + preemptions
        if not 0 <= wanted < job.completions:
            raise UsageError(
                "extend-too-far", f"max_preemptions={wanted} is outside of 0 to "
                f"{job.completions - 1}, what this Job can have",
                f"say at most --preemptions +{job.completions - 1 - job.max_preemptions}",
            )  # fmt: skip
        return wanted

    def events(self) -> list[dict[str, Any]]:
        """Return the events of the Job and its pods, oldest first."""
        names = {self.name, *(pod.name for pod in self.pods())}
        found = self.client.list("Event", self.namespace)
        mine = [e for e in found if _about(e, names, self.name)]
        return sorted(mine, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))

    def _job(self) -> JobState:
        job = self.job()
        if job is None:
            raise UsageError(
                "run-unknown", f"there is no run {self.name!r} in namespace {self.namespace}",
                "`gpukit list` shows what there is; a run's Job goes when its ttl is over",
            )  # fmt: skip
        return job

    def _kept_record(self, job: JobState, pods: Sequence[PodState]) -> RunRecord | None:
        """Return the record from the store, of a run that ended and whose pods cannot tell."""
        if not job.over or any(pod.message.get("run") for pod in pods):
            return None
        if self._record is None:
            try:
                self._record = kept_record(self.client, job, tell=self.client.tell)
            except (StoreError, ClusterError) as error:
                self.client.tell(f"its pods cannot tell, nor can its store: {error.message}")
        return self._record

    def _newest_kept(self, pods: Sequence[PodState]) -> int:
        """Return the newest attempt of the record; 0 where the record is not needed, or gone."""
        record = self._kept_record(self._job(), pods)
        return max((a.number for a in record.attempts()), default=0) if record else 0

    def _kept(self, attempt: int, tail: int | None) -> list[str]:
        lines, missing = kept_log(
            self.client, self._job(), attempt, node=self.node(), tell=self.client.tell
        )
        if missing:
            self.client.tell(f"{missing} bytes of this log were not kept: it was too long")
        return lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    def _pod_of(self, attempt: int | None) -> PodState | None:
        """Return the pod of an attempt, of the newest one by default; None where it is gone."""
        pods = self.pods()
        if attempt is None:
            started = [pod for pod in pods if pod.started]
            if started:
                return started[-1]
            if self._newest_kept(pods):
                return None
            raise UsageError(
                "logs-none", f"no pod of {self.name} has started yet",
                f"`gpukit logs -f {self.name}` waits for it, `gpukit status {self.name}` says more",
            )  # fmt: skip
        for pod in pods:
            number = pod.message.get("attempt") if pod.over else self._number(pod)
            if number == attempt:
                return pod
        return None

    def _number(self, pod: PodState) -> int | None:
        return next(
            (v.attempt.number for v in reversed(read_view(self._job(), [pod], self._edges(pod))
                                                .attempts)), None,
        )  # fmt: skip

    def _edges(self, pod: PodState) -> Iterable[str]:
        """Return the first and the last lines of a pod's log."""
        try:
            head = self.client.logs(
                pod.name, self.namespace, container=CONTAINER, limit=_HEAD_BYTES
            ).lines()
            first = [_plain(line) for line in head]
            tail = self.client.logs(
                pod.name, self.namespace, container=CONTAINER, tail=_TAIL_LINES
            ).lines()
            return [*first, *map(_plain, tail)]
        except ApiError:
            return []


def _plain(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n").partition(" ")[2]


def _about(event: dict[str, Any], names: set[str], run: str) -> bool:
    name = str((event.get("involvedObject") or {}).get("name", ""))
    return name in names or name.startswith(f"{run}-")
