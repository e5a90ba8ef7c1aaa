"""How often a run was interrupted, how fast it recovered, what spot saved, and what follows. Pure.

The rule is that of a pilot on spot capacity: fewer than three interruptions a week and a recovery
within 15 minutes: expand; more than five an hour: another region, or on demand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from gpukit.ladder import Cause
from gpukit.runtime.record import About, Attempt

__all__ = ["Ended", "Interruptions", "Verdict", "interruptions", "rate_bounds"]

Verdict = Literal["expand", "stay", "leave"]

_WEEK, _HOUR = 7 * 86400.0, 3600.0
_FEW_A_WEEK, _MANY_AN_HOUR = 3.0, 5.0
_FAST = 900.0
_FROM_OUTSIDE = (Cause.PREEMPTED, Cause.LOST)
_TAIL = 0.05


@dataclass(frozen=True)
class Ended:
    """One attempt as the record has it; times are unix seconds, None is unknown.

    Attributes:
        number: the attempt.
        cause: why it ended; ``running`` while it goes on (or was just killed), ``stopped`` where
            a person ended it and submitted again.
        reason: the same in the runtime's words.
        words: the same in the cluster's words, where they say more: ``evicted: its node was low on
            memory``.
        started: when it began.
        ended: when it ended; of a lost one, its last sign of life.
        start_step: where it began.
        end_step: the newest step that it reported.
        redone: steps of it that had to be done again after it.
        restore: seconds that the next attempt took to restore.
        recovery: seconds from its end to the next step of the run.
    """

    number: int
    cause: str
    reason: str
    started: float
    ended: float | None
    start_step: int
    end_step: int
    redone: int | None
    restore: float | None
    recovery: float | None
    words: str = ""


@dataclass(frozen=True)
class Interruptions:
    """What a run's record says of its interruptions.

    Attributes:
        run: its name.
        attempts: all attempts, oldest first.
        count: preemptions and lost nodes.
        failures: crashes and hangs, which are the job's own.
        seconds: running time, all attempts together.
        lost: of it, what interruptions and failures took: starting again, doing steps again.
        paid: US dollars for that time; None: price unknown.
        on_demand: what the same work would have cost without spot; None: price unknown.
    """

    run: str
    attempts: tuple[Ended, ...]
    count: int
    failures: int
    seconds: float
    lost: float
    paid: Decimal | None
    on_demand: Decimal | None

    @property
    def per_week(self) -> float | None:
        """Interruptions per week of running time; None where nothing has run."""
        return self.count * _WEEK / self.seconds if self.seconds > 0 else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Rates per week between which the true one lies with 90 % confidence."""
        if self.seconds <= 0:
            return None
        low, high = rate_bounds(self.count)
        return low * _WEEK / self.seconds, high * _WEEK / self.seconds

    @property
    def saved(self) -> Decimal | None:
        """US dollars that spot saved, negative where it cost more; None: a price is unknown."""
        return None if self.paid is None or self.on_demand is None else self.on_demand - self.paid

    @property
    def redone(self) -> int:
        """Steps that were done more than once, as far as they were reported."""
        return sum(attempt.redone or 0 for attempt in self.attempts)

    def recovery(self, share: float) -> float | None:
        """Return the recovery time that so large a share of the interruptions kept (nearest rank).

        None where no interruption was followed by a step.
        """
        times = sorted(
            a.recovery
            for a in self.attempts
            if a.recovery is not None and a.cause in _FROM_OUTSIDE  # a crash has Kubernetes wait
        )
        return times[max(math.ceil(share * len(times)) - 1, 0)] if times else None

    @property
    def verdict(self) -> Verdict | None:
        """What the pilot's rule says; None where nothing has run."""
        return None if self.per_week is None else self._verdict_at(self.per_week)

    @property
    def sure(self) -> bool:
        """Tell whether the rates that are still possible all lead to the same verdict."""
        if self.bounds is None:
            return False
        return len({self._verdict_at(rate) for rate in self.bounds}) == 1

    def _verdict_at(self, per_week: float) -> Verdict:
        if per_week * _HOUR / _WEEK > _MANY_AN_HOUR:
            return "leave"
        slowest = self.recovery(0.95)
        fast = slowest is None or slowest < _FAST
        return "expand" if per_week < _FEW_A_WEEK and fast else "stay"


def interruptions(
    attempts: Sequence[Attempt], about: About | None = None,
    submitted_after: Collection[int] = (), words: Mapping[int, str] | None = None,
) -> Interruptions:  # fmt: skip
    """Read a run's record.

    Args:
        attempts: oldest first.
        about: the run's name and prices; None where the record does not say.
        submitted_after: numbers of attempts after which a person submitted again: how these
            ended is no interruption, and what came between is no recovery.
        words: of the cluster, why attempts ended, by number.
    """
    about = about or About()
    rows = tuple(
        _ended(attempts, i, attempts[i].number in submitted_after) for i in range(len(attempts))
    )
    told = words or {}
    rows = tuple(
        replace(row, words=(row.cause in _FROM_OUTSIDE and told.get(row.number)) or row.cause)
        for row in rows
    )
    seconds = sum(a.seconds for a in attempts)
    lost = _lost(attempts, rows)
    return Interruptions(
        run=about.run,
        attempts=rows,
        count=sum(row.cause in _FROM_OUTSIDE for row in rows),
        failures=sum(row.cause in (Cause.CRASH, Cause.HANG) for row in rows),
        seconds=seconds,
        lost=lost,
        paid=_cost(about.price_per_hour, seconds),
        on_demand=_cost(about.on_demand_per_hour, seconds - lost),
    )


def rate_bounds(count: int) -> tuple[float, float]:
    """Return the means of a Poisson number between which 90 % confidence lies, given one count.

    The exact bounds of Garwood (Biometrika 28, 1936), five percent on either side.
    """
    low = 0.0 if count == 0 else _solve(lambda m: 1 - _at_most(count - 1, m), _TAIL, count)
    return low, _solve(lambda m: -_at_most(count, m), -_TAIL, count)


def _solve(rising: Callable[[float], float], goal: float, count: int) -> float:
    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(100):
        middle = (low + high) / 2
        if rising(middle) < goal:
            low = middle
        else:
            high = middle
    return high


def _at_most(count: int, mean: float) -> float:
    """Return the chance of at most so many, of a Poisson number."""
    if mean <= 0:
        return 1.0
    terms = (math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))
    return min(math.fsum(terms), 1.0)


def _ended(attempts: Sequence[Attempt], index: int, stopped: bool) -> Ended:
    attempt, later = attempts[index], attempts[index + 1 :]
    end, progress = attempt.end, attempt.progress
    open_end = end is None and not later
    cause = "running" if open_end else attempt.cause.value
    if stopped and attempt.cause in _FROM_OUTSIDE:
        cause = "stopped"
    ended = None if open_end else attempt.start.started + attempt.seconds
    first = next((a.progress.first_step_at for a in later if a.progress.first_step_at), None)
    follows = None if stopped or cause == Cause.FINISHED or ended is None else first
    following = later[0].progress if later else None
    return Ended(
        number=attempt.number,
        cause=cause,
        reason=end.reason if end else "",
        started=attempt.start.started,
        ended=ended,
        start_step=progress.start_step,
        end_step=max(progress.last_step, progress.durable_step),
        redone=following.redone if following else None,
        restore=following.restore_seconds if following else None,
        recovery=None if follows is None or ended is None else max(follows - ended, 0.0),
    )


def _lost(attempts: Sequence[Attempt], rows: Sequence[Ended]) -> float:
    """Return the seconds of running that only interruptions and failures made necessary."""
    lost = 0.0
    stepping = steps = 0.0
    for attempt in attempts:
        first = attempt.progress.first_step_at
        if first is not None:
            stepping += max(attempt.start.started + attempt.seconds - first, 0.0)
            steps += attempt.progress.steps
    per_step = stepping / steps if steps else 0.0
    for row, attempt in zip(rows, attempts[1:], strict=False):
        if row.cause == "stopped":
            continue
        first = attempt.progress.first_step_at
        starting = attempt.seconds if first is None else first - attempt.start.started
        lost += starting + per_step * (row.redone or 0)
    return min(lost, sum(a.seconds for a in attempts))


def _cost(price: str | None, seconds: float) -> Decimal | None:
    return None if price is None else Decimal(price) * Decimal(str(seconds)) / 3600
