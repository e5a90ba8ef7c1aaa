"""The run record: which attempts there were, how far each came, and how it ended.

Keys in the store of the run, JSON each::

    record/attempt-00001.json           created, never changed: hands out the attempt number
    record/attempt-00001.progress.json  replaced while it runs
    record/attempt-00001.end.json       how it ended; missing where the pod was killed
    record/submission-001.json          a person submitted (again): budgets count from here
    record/run.json                     which run it is, and what its pod costs per hour
    record/trackers.json                what experiment trackers call it
    record/result.json                  the end marker: the function returned

Whoever reads it needs nothing else: the supervisor, the local backend, the command line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from gpukit.errors import StoreError
from gpukit.ladder import Cause, PastAttempt

from .store import Store
from .usage import Usage

__all__ = [
    "About", "Attempt", "End", "Progress", "Result", "RunRecord", "Start", "Submission",
    "since_submission",
]  # fmt: skip

_ATTEMPT = re.compile(r"record/attempt-(\d+)\.json\Z")
_SUBMISSION = re.compile(r"record/submission-(\d+)\.json\Z")
_RESULT = "record/result.json"
_ABOUT = "record/run.json"
_TRACKERS = "record/trackers.json"
_RACES = 1000


@dataclass(frozen=True)
class About:
    """Which run it is; prices are US dollars of its pod per hour, as text, None where unknown.

    Attributes:
        run: its name.
        job: of which job.
        spot: it may run on spot capacity.
        price_per_hour: what it pays.
        on_demand_per_hour: what it would pay without spot.
        checkpoint_every: the person's bound on lost work, seconds.
    """

    run: str = ""
    job: str = ""
    spot: bool = False
    price_per_hour: str | None = None
    on_demand_per_hour: str | None = None
    checkpoint_every: int | None = None


@dataclass(frozen=True)
class Start:
    """Who began an attempt. ``index`` is Kubernetes' completion index; ``started`` unix seconds.

    ``owner`` tells the namespace of the run from others that were given the same store.
    """

    number: int = 0
    pod_uid: str = ""
    pod: str = ""
    node: str = ""
    index: int | None = None
    started: float = 0.0
    owner: str = ""


@dataclass(frozen=True)
class Progress:
    """How far an attempt has come; times are unix seconds.

    Attributes:
        start_step: the step it began at (0: from scratch).
        last_step: the newest step it finished.
        total: steps there are in all; None where unknown.
        durable_step: the newest step that a checkpoint holds.
        steps: steps that this attempt executed.
        first_step_at: when its first step ended.
        restore_seconds: how long the restore took.
        updated: when this was written.
        redone: steps of the attempt before that it had to do again, as far as they were reported.
        save_cost: seconds of training that a save takes.
        save_seconds: seconds until a save is durable.
        interval: seconds between saves, as it stands now.
        silence: the longest time between two signs of life, seconds.
        gpu: what it used of its GPUs; None without one, or where nobody could look.
    """

    start_step: int = 0
    last_step: int = 0
    total: int | None = None
    durable_step: int = 0
    steps: int = 0
    first_step_at: float | None = None
    restore_seconds: float | None = None
    updated: float = 0.0
    redone: int | None = None
    save_cost: float | None = None
    save_seconds: float | None = None
    interval: float | None = None
    silence: float = 0.0
    gpu: Usage | None = None


@dataclass(frozen=True)
class End:
    """How an attempt ended. ``error`` is the digest of ``traceback``, ``ended`` unix seconds."""

    cause: Cause = Cause.LOST
    exit_code: int = 1
    reason: str = ""
    error: str | None = None
    ended: float = 0.0
    traceback: str = ""


@dataclass(frozen=True)
class Result:
    """What the function returned, as JSON, and the attempt that finished."""

    value: Any = None
    step: int = 0
    attempt: int = 0
    finished: float = 0.0


@dataclass(frozen=True)
class Submission:
    """Somebody submitted, unix seconds ``time``, when ``attempts`` attempts had started."""

    time: float = 0.0
    attempts: int = 0


@dataclass(frozen=True)
class Attempt:
    """All that is known of one attempt.

    Attributes:
        start: who began it, when.
        progress: how far it came.
        end: how it ended; None where it left no end record.
        cause: why it ended. Without an end record it is LOST, or PREEMPTED where the next
            attempt has a higher completion index: Kubernetes burned its index, which it does
            for a disruption, and keeps it for a crash. The newest attempt may still run.
    """

    start: Start
    progress: Progress
    end: End | None
    cause: Cause

    @property
    def number(self) -> int:
        """Its number, from 1."""
        return self.start.number

    @property
    def seconds(self) -> float:
        """How long it ran, as far as the record knows."""
        last = self.end.ended if self.end else self.progress.updated
        return max(last - self.start.started, 0.0) if self.start.started else 0.0

    def past(self) -> PastAttempt:
        """Return what the ladder judges."""
        return PastAttempt(
            cause=self.cause,
            error=self.end.error if self.end else None,
            start_step=self.progress.start_step,
            end_step=self.progress.durable_step,
            seconds=self.seconds,
        )


T = TypeVar("T", About, Start, Progress, End, Result, Submission)


class RunRecord:
    """Reads and writes the record of the run that lives in ``store``."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def begin(self, start: Start) -> int:
        """Take the next attempt number; of two pods at once each gets its own.

        Raises:
            StoreError: the store cannot be used.
        """
        number = max(self._numbers(_ATTEMPT), default=0) + 1
        for candidate in range(number, number + _RACES):
            data = _dump(replace(start, number=candidate))
            if self.store.create(_key(candidate), data):
                return candidate
        raise StoreError(
            "store-create", f"no attempt number was free from {number} on",
            "the store refuses to create objects, or says they exist when they do not",
        )  # fmt: skip

    def put_progress(self, number: int, progress: Progress) -> None:
        """Say how far an attempt is."""
        self.store.put(_key(number, ".progress"), _dump(progress))

    def put_end(self, number: int, end: End) -> None:
        """Say how an attempt ended."""
        self.store.put(_key(number, ".end"), _dump(end))

    def put_result(self, result: Result) -> None:
        """Write the end marker; the first one stays."""
        self.store.create(_RESULT, _dump(result))

    def put_about(self, about: About) -> None:
        """Say which run it is; written anew only when something of it has changed."""
        if self.about() != about:
            self.store.put(_ABOUT, _dump(about))

    def about(self) -> About | None:
        """Return which run it is; None where no attempt has begun."""
        return self._read(_ABOUT, About)

    def put_trackers(self, ids: Mapping[str, str]) -> None:
        """Say what experiment trackers call this run."""
        self.store.put(_TRACKERS, json.dumps(dict(ids), sort_keys=True).encode())

    def trackers(self) -> dict[str, str]:
        """Return what experiment trackers call this run, by tracker."""
        try:
            found = json.loads(self.store.get(_TRACKERS) or b"{}")
        except ValueError:
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    def result(self) -> Result | None:
        """Return the end marker; None while the run has not finished."""
        return self._read(_RESULT, Result)

    def mark_submission(self, time: float) -> None:
        """Note that somebody submitted: retries and budgets count from here. Idempotent."""
        known = self.submissions()
        if known and known[-1].time >= time:
            return
        data = _dump(Submission(time, max(self._numbers(_ATTEMPT), default=0)))
        number = max(self._numbers(_SUBMISSION), default=0) + 1
        self.store.create(f"record/submission-{number:03d}.json", data)

    def submissions(self) -> list[Submission]:
        """Return the submissions, oldest first."""
        keys = (f"record/submission-{n:03d}.json" for n in self._numbers(_SUBMISSION))
        return [found for key in keys if (found := self._read(key, Submission))]

    def attempts(self, following: Start | None = None) -> list[Attempt]:
        """Return the attempts that started, oldest first.

        Args:
            following: the attempt that is about to start; its index says how the newest ended.
        """
        boundaries = {s.attempts for s in self.submissions()}
        found: list[Attempt] = []
        for number in reversed(self._numbers(_ATTEMPT)):
            start = self._read(_key(number), Start) or Start()
            start = replace(start, number=number)
            end = self._read(_key(number, ".end"), End)
            later = None if number in boundaries else following
            progress = self._read(_key(number, ".progress"), Progress) or Progress()
            found.append(Attempt(start, progress, end, _cause(start, end, later)))
            following = start
        return found[::-1]

    def _numbers(self, pattern: re.Pattern[str]) -> list[int]:
        matches = (pattern.search(key) for key in self.store.list("record/"))
        return sorted(int(match[1]) for match in matches if match)

    def _read(self, key: str, kind: type[T]) -> T | None:
        data = self.store.get(key)
        return None if data is None else _load(data, kind)


def since_submission(
    attempts: Sequence[Attempt], submissions: Sequence[Submission]
) -> list[Attempt]:
    """Return the attempts that count against the budgets: those since the newest submission."""
    before = submissions[-1].attempts if submissions else 0
    return [attempt for attempt in attempts if attempt.number > before]


def _cause(start: Start, end: End | None, following: Start | None) -> Cause:
    if end is not None:
        return end.cause
    if following is None or following.index is None or start.index is None:
        return Cause.LOST
    return Cause.PREEMPTED if following.index > start.index else Cause.LOST


def _key(number: int, part: str = "") -> str:
    return f"record/attempt-{number:05d}{part}.json"


def _dump(value: About | Start | Progress | End | Result | Submission) -> bytes:
    return json.dumps(asdict(value), sort_keys=True).encode()


def _load(data: bytes, kind: type[T]) -> T:
    """Read an object; what cannot be read (a torn write of a poor file system) is all defaults."""
    try:
        raw = json.loads(data)
    except ValueError:
        return kind()
    known = {field.name for field in fields(kind)}
    values = {name: value for name, value in raw.items() if name in known}
    if "cause" in values:
        values["cause"] = Cause(values["cause"])
    if "gpu" in values:
        values["gpu"] = Usage.from_row(values["gpu"])
    return kind(**values)
