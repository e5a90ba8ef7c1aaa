"""What a run cost in steps, time and money: from its record and the backend's events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from gpukit.ladder import Cause
from gpukit.runtime.record import Attempt

from .directory import Event

__all__ = ["AttemptRow", "Prices", "Restart", "Summary", "summarize"]

_HOUR = Decimal(3600)


@dataclass(frozen=True)
class Restart:
    """The time from an interruption to the first step after it, seconds; None where unknown.

    Attributes:
        leaving: from the notice to the end of the old attempt.
        waiting: from there to the start of the new one.
        starting: from there to its first step, without the restore.
        restoring: reading the checkpoint.
    """

    leaving: float
    waiting: float
    starting: float | None
    restoring: float | None

    @property
    def seconds(self) -> float | None:
        """The sum; None where no step came after it."""
        if self.starting is None:
            return None
        return self.leaving + self.waiting + self.starting + (self.restoring or 0.0)


@dataclass(frozen=True)
class AttemptRow:
    """One attempt.

    Attributes:
        number: as the run record counts.
        start_step: the step it began at.
        end_step: the newest step it is known to have finished.
        ended_by: why it ended, in words.
        redone: steps that the next attempt had to do again.
        seconds: how long its pod lived.
        first_step: seconds from the pod's start to its first step; None without one.
        restart: what the interruption at its end cost; None at the end of the run.
        exact: it could say how far it came; else it may have come further, and more was redone.
    """

    number: int
    start_step: int
    end_step: int
    ended_by: str
    redone: int
    seconds: float
    first_step: float | None
    restart: Restart | None
    exact: bool = True


@dataclass(frozen=True)
class Prices:
    """US dollars per hour of what the job asks for; None where the catalog has no price."""

    on_demand: Decimal | None = None
    spot: Decimal | None = None


@dataclass(frozen=True)
class Summary:
    """All attempts of the newest submission, and the totals."""

    rows: tuple[AttemptRow, ...]
    seconds: float
    prices: Prices

    @property
    def steps(self) -> int:
        """The newest step that was reached."""
        return max((row.end_step for row in self.rows), default=0)

    @property
    def redone(self) -> int:
        """Steps that were done more than once."""
        return sum(row.redone for row in self.rows)

    @property
    def lost_seconds(self) -> float:
        """Time between interruptions and the next first steps."""
        return sum((row.restart and row.restart.seconds) or 0.0 for row in self.rows)

    @property
    def interruptions(self) -> int:
        """How often an attempt was followed by another one."""
        return sum(1 for row in self.rows if row.restart is not None)

    def cost(self, price: Decimal | None) -> Decimal | None:
        """Return what the attempts would have cost at ``price`` per hour."""
        running = Decimal(str(sum(row.seconds for row in self.rows)))
        return None if price is None else price * running / _HOUR


def summarize(
    attempts: Sequence[Attempt], events: Sequence[Event], prices: Prices | None = None
) -> Summary:
    """Put record and events together.

    Args:
        attempts: the run record, oldest first.
        events: those of the newest submission.
        prices: of what the job asks for.
    """
    times = _by_uid(events)
    known = [a for a in attempts if a.start.pod_uid in times]
    rows = [
        _row(a, times, following)
        for a, following in zip(known, [*known[1:], None], strict=True)
    ]  # fmt: skip
    clock = [_time(e) for e in events]
    return Summary(tuple(rows), clock[-1] - clock[0] if clock else 0.0, prices or Prices())


@dataclass
class _Times:
    started: float
    exited: float
    notice: float | None = None
    words: str = ""
    first_step: float | None = None
    last_step: int = 0


def _by_uid(events: Sequence[Event]) -> Mapping[str, _Times]:
    found: dict[str, _Times] = {}
    latest: _Times | None = None
    for event in events:
        if event["event"] == "started":
            latest = found[str(event["uid"])] = _Times(_time(event), _time(event))
        elif latest is not None:
            if event["event"] == "exited":
                latest.exited = _time(event)
                first, last = event.get("first_step_at"), event.get("last_step")
                latest.first_step = None if first is None else float(str(first))
                latest.last_step = 0 if last is None else int(str(last))
            if event["event"] == "notice":
                latest.notice, latest.words = _time(event), str(event["kind"])
            if event["event"] == "killed":
                latest.words = "killed after grace"
    return found


def _row(attempt: Attempt, times: Mapping[str, _Times], following: Attempt | None) -> AttemptRow:
    mine = times[attempt.start.pod_uid]
    progress = attempt.progress
    end_step = max(progress.last_step, progress.durable_step, progress.start_step, mine.last_step)
    redone = max(end_step - following.progress.start_step, 0) if following else 0
    first = mine.first_step or progress.first_step_at
    return AttemptRow(
        number=attempt.number,
        start_step=progress.start_step,
        end_step=end_step,
        ended_by=_ended_by(attempt.cause, mine.words),
        redone=redone,
        seconds=mine.exited - mine.started,
        first_step=None if first is None else first - mine.started,
        restart=_restart(mine, following, times) if following else None,
        exact=attempt.end is not None,
    )


def _restart(mine: _Times, following: Attempt, times: Mapping[str, _Times]) -> Restart:
    theirs = times[following.start.pod_uid]
    first = theirs.first_step or following.progress.first_step_at
    restoring = following.progress.restore_seconds
    return Restart(
        leaving=mine.exited - (mine.notice or mine.exited),
        waiting=theirs.started - mine.exited,
        starting=None if first is None else first - theirs.started - (restoring or 0.0),
        restoring=restoring,
    )


def _ended_by(cause: Cause, words: str) -> str:
    if words == "node-loss":
        return "node lost"
    if words == "stop":
        return "stopped"
    if words == "killed after grace":
        return words
    return "preempted" if cause is Cause.PREEMPTED else cause.value


def _time(event: Event) -> float:
    return float(str(event["time"]))
