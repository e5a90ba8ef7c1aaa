"""When to save: Young's interval between its bounds, and what it learns."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukit.ladder import Cause
from gpukit.runtime.checkpoint.interval import (
    BELIEVED_COST,
    BELIEVED_SECONDS,
    LEAST_SECONDS,
    Pacer,
    Slowdown,
    best_interval,
    seconds_between,
)
from gpukit.runtime.history import History, history_of
from gpukit.runtime.record import Attempt, Progress, Start

HOUR = 3600.0
seconds = st.floats(0.01, 1e6)


@given(cost=seconds, between=seconds, at_most=seconds, persist=seconds)
def test_the_interval_keeps_its_bounds(
    cost: float, between: float, at_most: float, persist: float
) -> None:
    found = best_interval(cost, persist, between, at_most)
    assert found <= at_most
    assert found >= min(LEAST_SECONDS, at_most)
    assert found >= min(2 * persist, at_most)


@given(cost=st.floats(0.1, 60), between=st.floats(HOUR, 1e6), factor=st.floats(0.2, 5.0))
def test_no_other_interval_loses_less(cost: float, between: float, factor: float) -> None:
    def lost(interval: float) -> float:
        return cost / interval + interval / (2 * between)

    best = best_interval(cost, 0.0, between, math.inf)
    assert best > LEAST_SECONDS
    assert lost(best) <= lost(best * factor) + 1e-12


def test_before_anything_is_known_the_first_save_comes_after_a_minute() -> None:
    pacer = Pacer(HOUR)
    assert pacer.cost is None
    assert pacer.interval(0.0) == pytest.approx(math.sqrt(2 * BELIEVED_COST * BELIEVED_SECONDS))
    assert Pacer(30.0).interval(0.0) == 30.0


def test_what_is_seen_outweighs_what_was_believed() -> None:
    assert seconds_between(0.0, 0) == HOUR
    assert seconds_between(99 * HOUR, 0) == 100 * HOUR
    assert seconds_between(99 * HOUR, 999) == HOUR / 10


def test_frequent_interruptions_shorten_the_interval_and_dear_saves_lengthen_it() -> None:
    calm, stormy = History(10 * HOUR, 1, 1.0, 1.0), History(10 * HOUR, 40, 1.0, 1.0)
    assert Pacer(HOUR, stormy).interval(0.0) < Pacer(HOUR, calm).interval(0.0)
    dear = Pacer(HOUR, calm)
    for _ in range(5):
        dear.measured(9.0, 9.0)
    assert dear.interval(0.0) == pytest.approx(3 * Pacer(HOUR, calm).interval(0.0))


def test_one_slow_save_changes_little() -> None:
    """The first save of a process pays for memory that it touches for the first time."""
    pacer = Pacer(HOUR)
    for cost in (30.0, 1.0, 1.0):
        pacer.measured(cost, cost)
    assert (pacer.cost, pacer.persist) == (1.0, 1.0)


def test_the_slowdown_is_what_steps_take_longer_behind_a_save() -> None:
    slowdown = Slowdown()
    for _ in range(10):
        slowdown.step(1.0, saving=False)
    for length in (1.5, 1.3, 1.0):
        slowdown.step(length, saving=True)
    assert slowdown.take() == pytest.approx(0.8)
    assert slowdown.take() == 0.0, "it was counted already"
    assert slowdown.usual == 1.0


def test_history_adds_up_attempts_and_survives_the_environment() -> None:
    def attempt(number: int, cause: Cause, *saves: float) -> Attempt:
        cost, seconds = saves or (None, None)
        progress = Progress(updated=160.0, save_cost=cost, save_seconds=seconds)
        return Attempt(Start(number=number, started=100.0), progress, None, cause)

    found = history_of([
        attempt(1, Cause.PREEMPTED, 3.0, 4.0),
        attempt(2, Cause.CANCELLED, 1.0, 2.0),
        attempt(3, Cause.LOST),
    ])  # fmt: skip
    assert found == History(180.0, 2, 1.0, 2.0)
    assert History.from_json(found.to_json()) == found


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "null"])
def test_what_is_no_history_is_none(text: str) -> None:
    assert History.from_json(text) == History()
