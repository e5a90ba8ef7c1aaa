"""Following a run on a cluster: what happens to its pods, and what they write, in order."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpukit.contract import LABEL_RUN
from gpukit.errors import GpukitError

from .client import Client, Object
from .errors import ApiError
from .podlog import PodLog
from .state import JobState, PodState
from .transport import BrokenError

__all__ = ["Change", "ClusterFollower", "PodLine", "watch_objects"]

_PAUSE = 0.5
_WATCH_SECONDS = 240.0


@dataclass(frozen=True)
class PodLine:
    """One line that a pod wrote, and the node's time of it."""

    pod: str
    text: str
    time: str = ""


@dataclass(frozen=True)
class Change:
    """Something that happened.

    Attributes:
        kind: ``waiting``, ``scheduled``, ``started``, ``notice``, ``exited``, ``vanished`` (pod),
            ``job`` (the Job changed), ``gone`` (there is no Job any more).
        pod: it is about; None for the Job.
        job: the Job; None where it is gone.
    """

    kind: str
    pod: PodState | None = None
    job: JobState | None = None


def watch_objects(
    client: Client, kind: str, namespace: str, *, labels: str = "", fields: str = "",
    put: Callable[[str, Object], None], closed: threading.Event,
) -> None:  # fmt: skip
    """List, then watch, then list again where the watch was cut, until ``closed``.

    Args:
        client: of the API server.
        kind: of the objects.
        namespace: of the objects.
        labels: selector.
        fields: selector.
        put: takes ``(type, object)``; after each list also ``("SYNCED", {"names": …})``.
        closed: ends it.

    Raises:
        GpukitError: the API server refuses.
    """
    while not closed.is_set():
        page: Object = {}
        items: list[Object] = []
        for page in client.pages(kind, namespace, labels=labels, fields=fields):
            items += page.get("items") or []
        for item in items:
            put("LISTED", item)
        put("SYNCED", {"uids": [item["metadata"]["uid"] for item in items]})
        version = str((page.get("metadata") or {}).get("resourceVersion") or "")
        try:
            while not closed.is_set():
                watch = client.watch(
                    kind, namespace, version, labels=labels, fields=fields, seconds=_WATCH_SECONDS
                )
                with contextlib.closing(watch):
                    for change, item in watch:
                        version = str(item["metadata"].get("resourceVersion") or version)
                        if change != "BOOKMARK":
                            put(change, item)
                        if closed.is_set():
                            return
        except BrokenError:
            closed.wait(_PAUSE)
        except ApiError as error:
            if error.status != 410:
                raise
            closed.wait(_PAUSE)


@dataclass
class ClusterFollower:
    """Reads what is new at every :meth:`poll`; ``done`` once the run has ended and all is read.

    Args:
        client: of the API server.
        run: name of the run.
        namespace: of the run.
        logs: read the pods' logs too.
        kept: returns the lines of an attempt that its store has, for pods that are gone.
    """

    client: Client
    run: str
    namespace: str
    logs: bool = True
    kept: Callable[[int], list[str]] | None = None
    done: bool = False
    job: JobState | None = None
    _queue: queue.SimpleQueue[PodLine | Change | GpukitError] = field(
        default_factory=queue.SimpleQueue
    )
    _closed: threading.Event = field(default_factory=threading.Event)
    _pods: dict[str, PodState] = field(default_factory=dict)  # by uid, in order of creation
    _said: dict[str, set[str]] = field(default_factory=dict)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _synced: set[str] = field(default_factory=set)
    _log: PodLog | None = None

    def __post_init__(self) -> None:
        selector = f"{LABEL_RUN}={self.run}"
        self._start("job", lambda: watch_objects(
            self.client, "Job", self.namespace, fields=f"metadata.name={self.run}",
            put=self._take_job, closed=self._closed,
        ))  # fmt: skip
        self._start("pods", lambda: watch_objects(
            self.client, "Pod", self.namespace, labels=selector, put=self._take_pod,
            closed=self._closed,
        ))  # fmt: skip
        if self.logs:
            self._start("log", self._pump)

    def poll(self, patience: float = 0.0) -> list[PodLine | Change]:
        """Return what is new, waiting at most ``patience`` seconds for it.

        Raises:
            GpukitError: the API server refuses.
        """
        items: list[PodLine | Change] = []
        with contextlib.suppress(queue.Empty):
            while True:
                wait = patience if not items else 0.0
                item = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
                if isinstance(item, GpukitError):
                    self.close()
                    raise item
                if item == _END:
                    self.done = True
                    self.close()
                    break
                items.append(item)
        return items

    def close(self) -> None:
        """Stop; the run goes on."""
        self._closed.set()
        if self._log is not None:
            self._log.close()
        with self._wake:
            self._wake.notify_all()

    def _start(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except GpukitError as error:
                self._queue.put(error)

        threading.Thread(target=run, name=f"gpukit-{name}", daemon=True).start()

    def _take_job(self, change: str, item: Object) -> None:
        with self._wake:
            if change == "SYNCED":
                self._synced.add("job")
                if not item["uids"]:
                    self._gone()
            elif change == "DELETED":
                self._gone()
            else:
                self.job = JobState(item)
                self._queue.put(Change("job", job=self.job))
            self._look_for_end()

    def _gone(self) -> None:
        self.job = None
        self._synced.add("job")
        self._queue.put(Change("gone"))

    def _take_pod(self, change: str, item: Object) -> None:
        with self._wake:
            if change == "SYNCED":
                self._synced.add("pods")
                for uid in set(self._pods) - set(item["uids"]):
                    self._say(self._pods[uid], "vanished")
            else:
                pod = PodState(item)
                known = self._pods.get(pod.uid)
                if known is None or not known.over or pod.over:
                    self._pods[pod.uid] = pod
                    self._look_at(pod)
                if change == "DELETED":
                    self._say(pod, "vanished")
            self._look_for_end()

    def _look_at(self, pod: PodState) -> None:
        if pod.over and not self._said.get(pod.uid):  # it ended before we came
            self._said[pod.uid] = {"scheduled", "started", "notice"}
        if pod.scheduled:
            self._say(pod, "scheduled")
        if pod.started:
            self._say(pod, "started")
        if not pod.over and (pod.disruption or pod.leaving):
            self._say(pod, "notice")
        if pod.phase == "Pending" and pod.waiting[0]:
            self._say(pod, "waiting", mark=f"waiting {pod.waiting[0]}")
        if pod.over and not self.logs:
            self._say(pod, "exited")

    def _say(self, pod: PodState, kind: str, mark: str = "") -> None:
        said = self._said.setdefault(pod.uid, set())
        if (mark or kind) not in said:
            said.add(mark or kind)
            if kind != "vanished" or not self.logs:
                self._queue.put(Change(kind, pod))

    def _look_for_end(self) -> None:
        """End where there is nothing more to come; called with the lock held."""
        self._wake.notify_all()
        if not self.logs and self._over():
            self._queue.put(_END)

    def _over(self) -> bool:
        if self._synced != {"job", "pods"}:
            return False
        living = any(not (p.over or "vanished" in self._said[u]) for u, p in self._pods.items()
                     if u in self._said)  # fmt: skip
        return (self.job is None or self.job.over) and not living

    def _pump(self) -> None:
        """Bring the logs of the pods one after the other: a run has one pod at a time."""
        read: set[str] = set()
        while not self._closed.is_set():
            with self._wake:
                pod = self._next(read)
                if pod is None and self._over():
                    self._queue.put(_END)
                    return
                if pod is None:
                    self._wake.wait(1.0)
                    continue
            read.add(pod.uid)
            self._read(pod)

    def _next(self, read: set[str]) -> PodState | None:
        """Return the oldest pod that has something to read."""
        waiting = [p for u, p in self._pods.items() if u not in read]
        waiting.sort(key=lambda pod: pod.created or 0.0)
        return next((p for p in waiting if p.started or p.over), None)

    def _read(self, pod: PodState) -> None:
        self._log = PodLog(self.client, pod.name, self.namespace)

        def ended() -> bool:
            return self._pods[pod.uid].over or "vanished" in self._said.get(pod.uid, ())

        attempt, count = None, 0
        for when, line in self._log.lines(ended):
            if self._closed.is_set():
                return
            text = line.decode(errors="replace").rstrip("\n")
            if attempt is None and text.startswith(_BEGINS):
                attempt = _number(text)
            count += attempt is not None
            self._queue.put(PodLine(pod.name, text, when))
        lost = self._log.gone and not self._from_store(pod, attempt, count)
        with self._wake:
            until = time.monotonic() + _SETTLE
            while not ended() and time.monotonic() < until:
                self._wake.wait(0.2)
            self._queue.put(Change("exited", self._pods[pod.uid], self.job))
            if lost:
                self._queue.put(Change("vanished", self._pods[pod.uid]))

    def _from_store(self, pod: PodState, attempt: int | None, shown: int) -> bool:
        """Show the rest of the log of a pod that is gone; tell whether the store had it.

        The store has the lines from the one on with which the attempt begins.
        """
        if self.kept is None or attempt is None:
            return False
        try:
            lines = self.kept(attempt)
        except GpukitError:
            return False
        for text in lines[shown:]:
            self._queue.put(PodLine(pod.name, text))
        return True


def _number(text: str) -> int | None:
    """Return the attempt that a structured line is about."""
    try:
        number = json.loads(text).get("attempt")
    except (ValueError, AttributeError):
        return None
    return number if isinstance(number, int) else None


_BEGINS = '{"gpukit":"attempt"'
_END = Change("end")
_SETTLE = 5.0  # between the end of a log and the word of the API server that the pod has ended
