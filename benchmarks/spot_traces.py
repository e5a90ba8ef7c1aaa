"""Real spot capacity over time, replayed for one machine: how long it lives, when the next comes.

Three formats: "milliseconds, add|remove, node" and "date, time, number of nodes" (``*.csv`` and
``*.txt`` of UCLASystem/bamboo, MIT licence), and the JSON of skypilot-org/spot-traces:
``{"metadata": {"gap_seconds": 600}, "data": [machines, machines, …]}``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["Trace", "load_trace", "load_traces", "replayed"]


@dataclass(frozen=True)
class Trace:
    """Number of machines over time: (hours, machines), and what happens again after ``length``."""

    events: tuple[tuple[float, int], ...]
    length: float


def load_traces(folder: Path) -> Iterator[tuple[str, Trace]]:
    """Yield all traces of a folder by name."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".csv", ".txt", ".json"):
            yield path.stem, load_trace(path)


def load_trace(path: Path) -> Trace:
    """Read one file, whichever of the formats it has.

    Raises:
        ValueError: it has none of them, or holds nothing.
    """
    text = path.read_text(encoding="utf-8")
    try:
        if text.lstrip().startswith("{"):
            return _grid(json.loads(text))
        lines = [line for line in text.splitlines() if line.strip()]
        changes = lines and lines[0].split(",")[1].strip() in ("add", "remove")
        events = _changes(lines) if changes else _counts(lines)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no trace of a known format: {error!r}") from None
    if not events:
        raise ValueError(f"{path} is empty")
    return Trace(tuple(events), events[-1][0] + 0.1)


def _grid(raw: dict[str, Any]) -> Trace:
    gap = float(raw["metadata"]["gap_seconds"]) / 3600
    counts = [int(count) for count in raw["data"]]
    first = [(0.0, counts[0])]
    later = [(i * gap, b) for i, (a, b) in enumerate(pairwise(counts), start=1) if a != b]
    return Trace(tuple(first + later), len(counts) * gap)


def _changes(lines: list[str]) -> list[tuple[float, int]]:
    count, events = 0, []
    for line in lines:
        time, what, _node = (word.strip() for word in line.split(","))
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
