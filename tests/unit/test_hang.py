"""When silence is a hang: never before there is a reason to say so."""

from __future__ import annotations

import pytest

from gpukit.runtime.hang import LEAST_LIMIT, Pulse


def stepping(pulse: Pulse, steps: int, length: float, begin: float = 0.0) -> float:
    """Make steps; return when the last one ended."""
    for number in range(steps):
        pulse.step(begin + number * length, number + 1)
    return begin + (steps - 1) * length


def test_nothing_is_a_hang_before_ten_steps_are_known() -> None:
    pulse = Pulse()
    assert not pulse.hangs(1e9), "compiling, loading, waiting for other ranks"
    now = stepping(pulse, 10, 1.0)
    assert pulse.limit is None
    assert not pulse.hangs(now + 1e9)
    pulse.step(now + 1.0, 11)
    assert pulse.limit == LEAST_LIMIT


def test_slow_steps_and_long_evaluations_raise_the_limit() -> None:
    slow = Pulse()
    stepping(slow, 12, 600.0)
    assert slow.limit == pytest.approx(20 * 600.0)
    evaluating = Pulse()
    now = stepping(evaluating, 12, 1.0)
    evaluating.step(now + 1500.0, 13)  # came back after 25 minutes
    assert evaluating.limit == pytest.approx(5 * 1500.0)
    assert not evaluating.hangs(now + 1500.0 + 7000.0)
    assert evaluating.hangs(now + 1500.0 + 8000.0)


def test_a_step_event_may_stand_for_many_steps() -> None:
    pulse = Pulse()
    pulse.step(0.0, 1)
    pulse.step(0.5, 500)
    assert pulse.limit == LEAST_LIMIT


def test_a_heartbeat_is_a_sign_of_life() -> None:
    pulse = Pulse()
    now = stepping(pulse, 12, 1.0)
    for minutes in range(1, 120):
        pulse.alive(now + 60.0 * minutes)
    assert not pulse.hangs(now + 120 * 60.0)
    assert pulse.silence(now + 120 * 60.0) == 60.0


def test_the_persons_own_limit_counts_from_the_first_step() -> None:
    pulse = Pulse(10.0)
    pulse.alive(50.0)
    assert not pulse.hangs(1e6)
    pulse.step(100.0, 1)
    assert not pulse.hangs(109.0)
    assert pulse.hangs(111.0)
    assert pulse.silence(111.0) == 11.0


def test_earlier_attempts_teach_patience() -> None:
    again = Pulse(longest=1200.0, hangs=1)
    stepping(again, 12, 1.0)
    assert again.limit == 2 * 5 * 1200.0
