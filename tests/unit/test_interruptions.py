"""What a record says of interruptions: rate, recovery, money, and the pilot's rule."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpukit.finops.interruptions import Interruptions, interruptions, rate_bounds
from gpukit.ladder import Cause
from gpukit.runtime.record import About, Attempt, End, Progress, Start

HOUR, DAY = 3600.0, 86400.0
PRICES = About("train-1", "train", True, "0.50", "2.00")


def attempt(
    number: int, began: float, ran: float, cause: Cause, *, starting: float = 60.0,
    steps: int = 100, redone: int | None = None, ended: bool = True,
) -> Attempt:  # fmt: skip
    began += 1e9
    progress = Progress(
        start_step=100 * (number - 1), last_step=100 * (number - 1) + steps, steps=steps,
        first_step_at=began + starting, restore_seconds=2.0, updated=began + ran, redone=redone,
    )  # fmt: skip
    end = End(cause, 75, "why", ended=began + ran) if ended else None
    return Attempt(Start(number, started=began), progress, end, cause)


def test_recovery_goes_from_the_end_to_the_next_step() -> None:
    found = interruptions([
        attempt(1, 0.0, HOUR, Cause.PREEMPTED),
        attempt(2, HOUR + 30, HOUR, Cause.LOST, redone=0, starting=90.0, ended=False),
        attempt(3, 3 * HOUR, HOUR, Cause.FINISHED, redone=40),
    ], PRICES)  # fmt: skip
    first, second, last = found.attempts
    assert first.recovery == 30 + 90
    assert second.recovery == 3 * HOUR + 60 - (2 * HOUR + 30)
    assert (first.redone, second.redone, second.restore) == (0, 40, 2.0)
    assert (last.cause, last.recovery, last.redone) == ("finished", None, None)
    assert (found.count, found.redone) == (2, 40)
    assert found.recovery(0.5) == 120.0
    assert found.recovery(0.95) == second.recovery


def test_an_attempt_without_a_step_prolongs_the_recovery_before_it() -> None:
    silent = attempt(2, HOUR + 30, 20.0, Cause.PREEMPTED, steps=0)
    silent = Attempt(silent.start, Progress(updated=1e9 + HOUR + 50), silent.end, silent.cause)
    found = interruptions([
        attempt(1, 0.0, HOUR, Cause.PREEMPTED), silent,
        attempt(3, HOUR + 100, HOUR, Cause.FINISHED),
    ])  # fmt: skip
    assert [a.recovery for a in found.attempts] == [160.0, 110.0, None]
    assert found.count == 2


def test_the_newest_attempt_may_still_run() -> None:
    (row,) = interruptions([attempt(1, 0.0, 60.0, Cause.LOST, ended=False)], None).attempts
    assert (row.cause, row.ended, row.recovery) == ("running", None, None)


def test_what_a_person_stopped_is_no_interruption() -> None:
    both = [attempt(1, 0.0, HOUR, Cause.PREEMPTED), attempt(2, 9 * DAY, HOUR, Cause.FINISHED)]
    stopped = interruptions(both, PRICES, submitted_after={1})
    assert stopped.count == 0
    assert stopped.attempts[0].cause == "stopped"
    assert stopped.recovery(0.5) is None
    assert interruptions(both, PRICES).count == 1


def test_crashes_are_counted_apart() -> None:
    found = interruptions(
        [attempt(1, 0.0, HOUR, Cause.CRASH), attempt(2, HOUR, HOUR, Cause.FINISHED)], PRICES
    )
    assert (found.count, found.failures) == (0, 1)
    assert found.attempts[0].recovery == 60.0
    assert found.recovery(0.95) is None, "after a crash Kubernetes waits: that is not spot's doing"


def test_a_slow_recovery_from_a_crash_does_not_speak_against_spot() -> None:
    found = interruptions([
        attempt(1, 0.0, DAY, Cause.CRASH),
        attempt(2, DAY + HOUR, 9 * DAY, Cause.PREEMPTED),
        attempt(3, 10 * DAY + HOUR + 30, 9 * DAY, Cause.FINISHED),
    ])  # fmt: skip
    assert found.attempts[0].recovery == HOUR + 60
    assert found.recovery(0.95) == 90
    assert found.verdict == "expand"


def test_the_clusters_words_say_more_than_the_record() -> None:
    found = interruptions(
        [
            attempt(1, 0.0, HOUR, Cause.PREEMPTED),
            attempt(2, 2 * HOUR, HOUR, Cause.LOST, ended=False),
            attempt(3, 4 * HOUR, HOUR, Cause.FINISHED),
        ],
        words={1: "evicted: its node was low on memory", 3: "finished"},
    )
    words = [row.words for row in found.attempts]
    assert words == ["evicted: its node was low on memory", "lost", "finished"]


def test_money_is_held_against_the_same_work_without_interruptions() -> None:
    found = interruptions([
        attempt(1, 0.0, HOUR, Cause.LOST),
        attempt(2, HOUR, HOUR, Cause.FINISHED, redone=10),
    ], PRICES)  # fmt: skip
    per_step = (2 * HOUR - 120) / 200
    assert found.lost == pytest.approx(60 + 10 * per_step)
    assert found.paid == Decimal("1.00")
    assert float(found.on_demand or 0) == pytest.approx(2.0 * (2 * HOUR - found.lost) / HOUR)
    assert found.saved == (found.on_demand or 0) - Decimal("1.00")


@pytest.mark.parametrize("about", [None, About(), About(price_per_hour="0.5")])
def test_an_unknown_price_stays_unknown(about: About | None) -> None:
    found = interruptions([attempt(1, 0.0, HOUR, Cause.FINISHED)], about)
    assert found.saved is None
    assert found.on_demand is None


def weeks(count: int, length: float, starting: float = 60.0) -> Interruptions:
    ran = length / (count + 1)
    return interruptions([
        attempt(n + 1, n * ran, ran, Cause.FINISHED if n == count else Cause.LOST,
                starting=starting)
        for n in range(count + 1)
    ], PRICES)  # fmt: skip


@pytest.mark.parametrize(
    ("report", "verdict", "sure"),
    [
        (weeks(0, 8 * DAY), "expand", True),
        (weeks(0, DAY), "expand", False),
        (weeks(2, 7 * DAY), "expand", False),
        (weeks(3, 7 * DAY), "stay", False),
        (weeks(20, 7 * DAY), "stay", True),
        (weeks(2, 70 * DAY, starting=1000.0), "stay", True),
        (weeks(60, 10 * HOUR), "leave", False),
        (weeks(90, 10 * HOUR), "leave", True),
    ],
)
def test_the_verdict_is_the_pilots_rule(report: Interruptions, verdict: str, sure: bool) -> None:
    assert (report.verdict, report.sure) == (verdict, sure)


def test_nothing_has_run() -> None:
    found = interruptions([], None)
    assert (found.per_week, found.verdict, found.bounds, found.sure) == (None, None, None, False)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 2.9957), (1, 0.0513, 4.7439), (5, 1.9701, 10.5130), (10, 5.4254, 16.9622)],
)
def test_bounds_of_a_rate_are_those_of_the_tables(count: int, low: float, high: float) -> None:
    """Half of the 5 % and 95 % quantiles of chi-squared with 2n and 2n + 2 degrees of freedom."""
    assert rate_bounds(count) == pytest.approx((low, high), abs=1e-4)
