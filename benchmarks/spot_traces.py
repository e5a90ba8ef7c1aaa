"""Real spot capacity over time, replayed for one machine: how long it lives, when the next comes.

Traces of UCLASystem/bamboo (MIT licence): ``*.csv`` hold "milliseconds, add|remove, node";
``*.txt`` hold "date, time, number of nodes".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

__all__ = ["Trace", "load_traces", "replayed"]


@dataclass(frozen=True)
class Trace:
    """Number of machines over time: (hours, machines), and what happens again after ``length``."""

    events: tuple[tuple[float, int], ...]
    length: float


def load_traces(folder: Path) -> Iterator[tuple[str, Trace]]:
    """Yield all traces of a folder by name."""
    for path in sorted(folder.rglob("*")):
        lines = path.read_text().splitlines() if path.suffix in (".csv", ".txt") else []
        events = _changes(lines) if path.suffix == ".csv" else _counts(lines)
        if events:
            yield path.stem, Trace(tuple(events), events[-1][0] + 0.1)


def _changes(lines: list[str]) -> list[tuple[float, int]]:
    count, events = 0, []
    for line in lines:
        time, what, _node = line.split(",")
        count += 1 if what == "add" else -1
        events.append((int(time) / 3_600_000, count))
    return _from_zero(events)


def _counts(lines: list[str]) -> list[tuple[float, int]]:
    events, newest = [], 0.0
    for line in lines:
        date, time, number = (word.strip() for word in line.split(","))
        stamp = datetime.strptime(f"{date} {time}", "%Y-%m-%d %H:%M:%S").timestamp() / 3600
        newest = max(newest, stamp)  # each change is written thrice, a minute apart
        events.append((newest, int(number)))
    return _from_zero(events)


def _from_zero(events: list[tuple[float, int]]) -> list[tuple[float, int]]:
    first = events[0][0] if events else 0.0
    return [(time - first, count) for time, count in events]


def replayed(
    trace: Trace, place: float
) -> Callable[[random.Random], Iterator[tuple[float, float]]]:
    """Return gaps of a job on one machine after the other, with the waits between.

    When the number of machines falls from n to m, the job's own is lost with chance (n − m)/n. It
    goes on as soon as there is a machine.

    Args:
        trace: what there was.
        place: where in it the series begins, from 0 to 1.
    """

    def gaps(chance: random.Random) -> Iterator[tuple[float, float]]:
        began = place * trace.length
        lost_at: float | None = None
        for (_, before), (now, after) in pairwise(_again(trace)):
            if now < began:
                continue
            if lost_at is not None:
                if after > 0:
                    yield lost_at - began, now - lost_at
                    began, lost_at = now, None
            elif after < before and chance.random() < (before - after) / before:
                if after > 0:
                    yield now - began, 1 / 60
                    began = now
                else:
                    lost_at = now

    return gaps


def _again(trace: Trace) -> Iterator[tuple[float, int]]:
    turn = 0
    while True:
        for time, count in trace.events:
            yield time + turn * trace.length, count
        turn += 1
