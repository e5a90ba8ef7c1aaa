"""What is shown of a run on a cluster: its attempts, where the time went, how far it is. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gpukit.cluster.state import JobState, PodState
from gpukit.ladder import Cause
from gpukit.runtime.record import Attempt, End, Progress, Start
from gpukit.runtime.usage import Usage

__all__ = ["AttemptView", "Gap", "RunView", "read_view", "structured_lines"]

_HOUR = Decimal(3600)
_MARK = '{"gpukit":'


@dataclass(frozen=True)
class Gap:
    """Where the time before an attempt's first step went, seconds; None where nobody can say.

    Attributes:
        detection: from the end of the attempt before it to the creation of its pod.
        scheduling: until the pod had a node.
        image: until its container started: image, volumes.
        start: until gpukit's runtime began the attempt: unpacking, packages.
        restore: reading the checkpoint.
        first_step: the rest until the first step: imports, data, compiling.
    """

    detection: float | None = None
    scheduling: float | None = None
    image: float | None = None
    start: float | None = None
    restore: float | None = None
    first_step: float | None = None


@dataclass(frozen=True)
class AttemptView:
    """One attempt.

    Attributes:
        attempt: as its record says.
        ended_by: why it ended, in words; empty while it runs.
        gap: the time before its first step.
        pod: its pod, where the cluster still has it.
    """

    attempt: Attempt
    ended_by: str
    gap: Gap
    pod: PodState | None = None


@dataclass(frozen=True)
class RunView:
    """A run, as far as the cluster's objects and the newest log tell.

    Attributes:
        job: the Job.
        attempts: oldest first, as far as known.
        pod: the newest pod.
        step: the newest step that is known.
        total: steps in all; None where unknown.
        durable_step: the newest step that a checkpoint holds; None without one.
        checkpoint_at: unix seconds of that checkpoint; None where unknown.
        cost: US dollars so far; None where the price is unknown.
        metrics: what the function logged last.
        message: the newest termination message.
    """

    job: JobState
    attempts: tuple[AttemptView, ...] = ()
    pod: PodState | None = None
    step: int = 0
    total: int | None = None
    durable_step: int | None = None
    checkpoint_at: float | None = None
    cost: Decimal | None = None
    metrics: Mapping[str, object] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)


def structured_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the runtime's structured lines among all lines of a log."""
    for line in lines:
        if line.startswith(_MARK):
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict):
                yield fields


def read_view(
    job: JobState,
    pods: Sequence[PodState],
    log: Iterable[str] = (),
    now: float = 0.0,
    kept: Sequence[Attempt] = (),
) -> RunView:
    """Put together what is known.

    Args:
        job: the Job.
        pods: of the run.
        log: lines of the newest pod's log, or of its beginning and its end.
        now: unix seconds.
        kept: the attempts of the run's record, where the pods that told of them are gone.
    """
    ordered = sorted(pods, key=lambda pod: pod.created or 0.0)
    newest = ordered[-1] if ordered else None
    message = next((p.message for p in reversed(ordered) if p.message.get("run")), {})
    found = {**{attempt.number: attempt for attempt in kept}, **_from_message(message)}
    live = _Live(now)
    for fields in structured_lines(log):
        live.take(fields)
    if live.number is not None and (newest is None or not newest.message.get("attempt")):
        found = {**_from_rows(live.history), **found, live.number: live.attempt()}
    views = _with_pods([found[n] for n in sorted(found)], ordered, live.number, newest)
    steps = [v.attempt.progress for v in views]
    durable = max((p.durable_step for p in steps), default=0)
    return RunView(
        job=job,
        attempts=tuple(views),
        pod=newest,
        step=max((max(p.last_step, p.durable_step) for p in steps), default=0),
        total=live.total,
        durable_step=durable or None,
        checkpoint_at=live.checkpoint_at,
        cost=_cost(job, views),
        metrics=live.metrics,
        message=message,
    )


def _from_message(message: Mapping[str, Any]) -> dict[int, Attempt]:
    return _from_rows(message.get("attempts") or ())


def _from_rows(rows: Iterable[Mapping[str, Any]]) -> dict[int, Attempt]:
    found = {}
    for row in rows:
        attempt = _attempt(row)
        if attempt is not None:
            found[attempt.number] = attempt
    return found


def _attempt(row: Mapping[str, Any]) -> Attempt | None:
    """Read what :func:`gpukit.runtime.termination.row` wrote."""
    try:
        number, started, seconds = int(row["n"]), float(row["started"]), float(row["seconds"])
        cause = Cause(row["cause"])
    except (KeyError, TypeError, ValueError):
        return None
    first = row.get("first")
    start = Start(number, "", "", str(row.get("node", "")), row.get("index"), started)
    progress = Progress(
        start_step=int(row.get("start", 0)), last_step=int(row.get("end", 0)),
        durable_step=int(row.get("durable", 0)),
        first_step_at=None if first is None else started + float(first),
        restore_seconds=row.get("restore"), updated=started + seconds,
        gpu=Usage.from_row(row.get("gpu")),
    )  # fmt: skip
    return Attempt(start, progress, End(cause=cause, ended=started + seconds), cause)


class _Live:
    """The attempt that the log is of."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.number: int | None = None
        self.history: list[Mapping[str, Any]] = []
        self.start = Start()
        self.progress = Progress()
        self.total: int | None = None
        self.checkpoint_at: float | None = None
        self.metrics: Mapping[str, object] = {}
        self.end: End | None = None

    def take(self, fields: Mapping[str, Any]) -> None:
        kind, when = fields.get("gpukit"), float(fields.get("time") or 0.0)
        step = fields.get("step")
        if kind == "attempt" and isinstance(fields.get("attempt"), int):
            self.number = fields["attempt"]
            self.history = list(fields.get("attempts") or ())
            self.start = Start(
                fields["attempt"], "", str(fields.get("pod", "")), str(fields.get("node", "")),
                fields.get("index"), when,
            )  # fmt: skip
            known = [int(row.get("durable", 0)) for row in self.history]
            begin = max(known, default=0)
            self.progress = Progress(start_step=begin, last_step=begin, durable_step=begin)
        elif kind == "end":
            self.end = End(
                Cause(fields.get("cause", "lost")), int(fields.get("exit_code", 1)),
                str(fields.get("reason", "")), ended=when,
            )  # fmt: skip
        elif isinstance(step, int):
            self._step(str(kind), step, when, fields)

    def _step(self, kind: str, step: int, when: float, fields: Mapping[str, Any]) -> None:
        if kind == "restored":
            self.progress = replace(
                self.progress, start_step=step, last_step=step, durable_step=step,
                restore_seconds=fields.get("seconds"),
            )  # fmt: skip
        elif kind == "checkpoint":
            self.progress = replace(self.progress, durable_step=step)
            self.checkpoint_at = when
        elif kind == "progress":
            first = self.progress.first_step_at or when
            self.progress = replace(self.progress, last_step=step, first_step_at=first)
            self.total = fields.get("total") or self.total
            self.metrics = fields.get("metrics") or {}

    def attempt(self) -> Attempt:
        progress = replace(self.progress, updated=self.now or self.start.started)
        cause = self.end.cause if self.end else Cause.LOST
        return Attempt(self.start, progress, self.end, cause)


def _with_pods(
    attempts: Sequence[Attempt], pods: Sequence[PodState], live: int | None, newest: PodState | None
) -> list[AttemptView]:
    by_number = {int(p.message["attempt"]): p for p in pods if p.message.get("attempt")}
    if live is not None and newest is not None:
        by_number.setdefault(live, newest)
    by_uid = {p.uid: p for p in pods}  # one that was killed has told nothing
    for attempt in attempts:
        if attempt.start.pod_uid in by_uid:
            by_number.setdefault(attempt.number, by_uid[attempt.start.pod_uid])
    views: list[AttemptView] = []
    for attempt in attempts:
        pod = by_number.get(attempt.number)
        before = views[-1] if views else None
        running = attempt.number == live and attempt.end is None and not (pod and pod.over)
        views.append(
            AttemptView(
                attempt, "" if running else _ended_by(attempt, pod), _gap(attempt, pod, before), pod
            )
        )
    return views


def _ended_by(attempt: Attempt, pod: PodState | None) -> str:
    outside = attempt.cause in (Cause.PREEMPTED, Cause.LOST)
    if outside and pod is not None and pod.disruption:
        return pod.disruption
    if pod is not None and pod.end_reason == "OOMKilled":
        return "out of memory (killed by the kernel)"
    if attempt.cause is Cause.LOST and pod is not None and pod.exit_code is not None:
        return f"killed (exit code {pod.exit_code})"
    return attempt.cause.value


def _gap(attempt: Attempt, pod: PodState | None, before: AttemptView | None) -> Gap:
    progress, began = attempt.progress, attempt.start.started
    first = progress.first_step_at
    restore = progress.restore_seconds
    ended = _end_of(before) if before else None
    return Gap(
        detection=_between(ended, pod.created if pod else None),
        scheduling=_between(pod.created, pod.scheduled) if pod else None,
        image=_between(pod.scheduled, pod.started) if pod else None,
        start=_between(pod.started, began) if pod else None,
        restore=restore,
        first_step=None if first is None else max(first - began - (restore or 0.0), 0.0),
    )


def _end_of(view: AttemptView) -> float | None:
    if view.pod is not None and view.pod.finished is not None:
        return view.pod.finished
    start = view.attempt.start.started
    return start + view.attempt.seconds if start else None


def _between(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return None
    return max(second - first, 0.0)


def _cost(job: JobState, views: Sequence[AttemptView]) -> Decimal | None:
    task = job.task
    if task is None or task.price_per_hour is None:
        return None
    seconds = sum(view.attempt.seconds for view in views)
    return Decimal(task.price_per_hour) * Decimal(str(seconds)) / _HOUR
