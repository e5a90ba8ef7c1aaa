"""When to save: Young's interval, from what a save costs and how often the run is interrupted.

With a cost of C seconds per save and M seconds between interruptions, saving every t seconds loses
C/t of the time to saves and t/2M to work that is done again; their sum is least at sqrt(2·C·M)
(J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17, 1974).
Neither is known when a run begins, so both begin with a belief. Pure, standard library only.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from gpukit.runtime.history import History

__all__ = [
    "BELIEVED_COST", "BELIEVED_SECONDS", "LEAST_SECONDS", "Pacer", "Slowdown", "best_interval",
    "seconds_between",
]  # fmt: skip

BELIEVED_SECONDS = 3600.0
"""Time between interruptions before any was seen; it weighs as much as one interruption."""

BELIEVED_COST = 0.5
"""Cost of a save before one was measured: the first one comes after a minute."""

LEAST_SECONDS = 10.0
"""Saves follow each other no faster, unless the person's own bound is lower."""

_REMEMBERED = 5
_STEPS = 32


def seconds_between(seconds: float, interruptions: int) -> float:
    """Return the expected seconds between interruptions, after so many in so long.

    The mean of the gamma belief: what was seen, and one interruption in an hour beside it.
    """
    return (BELIEVED_SECONDS + max(seconds, 0.0)) / (1 + interruptions)


def best_interval(cost: float, persist: float, between: float, at_most: float) -> float:
    """Return the seconds from one save to the next.

    Args:
        cost: seconds that training loses by a save: its stall, and the slower steps behind it.
        persist: seconds until a save is durable; two of them fit into an interval.
        between: seconds between interruptions.
        at_most: the person's bound on lost work; it holds whatever the rest says.
    """
    best = math.sqrt(2 * max(cost, 0.0) * max(between, 0.0))
    return min(max(best, LEAST_SECONDS, 2 * persist), at_most)


class Pacer:
    """Knows the interval, and learns from each save.

    Args:
        at_most: upper bound of the interval, seconds.
        history: what the attempts before this one saw.
    """

    def __init__(self, at_most: float, history: History | None = None) -> None:
        self._at_most = at_most
        self._history = history or History()
        self._costs: deque[float] = deque(_known(self._history.save_cost), _REMEMBERED)
        self._persists: deque[float] = deque(_known(self._history.save_seconds), _REMEMBERED)

    @property
    def cost(self) -> float | None:
        """Seconds that training loses by a save; None until one was measured.

        The median of the newest: the first save of a process pays for memory that is new to it.
        """
        return statistics.median(self._costs) if self._costs else None

    @property
    def persist(self) -> float | None:
        """Seconds until a save is durable; None until one was measured."""
        return statistics.median(self._persists) if self._persists else None

    def measured(self, cost: float, persist: float) -> None:
        """Take note of what a save took, seconds."""
        self._costs.append(cost)
        self._persists.append(persist)

    def interval(self, running: float) -> float:
        """Return the seconds from one save to the next.

        Args:
            running: seconds that this attempt has run so far.
        """
        history = self._history
        between = seconds_between(history.seconds + running, history.interruptions)
        cost = BELIEVED_COST if self.cost is None else self.cost
        return best_interval(cost, self.persist or 0.0, between, self._at_most)


class Slowdown:
    """How much longer steps take while a save is written behind them."""

    def __init__(self) -> None:
        self._free: deque[float] = deque(maxlen=_STEPS)
        self._behind: list[float] = []

    @property
    def usual(self) -> float:
        """Seconds of a step with nothing behind it, the median of the newest; 0 before one."""
        return statistics.median(self._free) if self._free else 0.0

    def step(self, seconds: float, *, saving: bool) -> None:
        """Take note of a step's length, without the stall of a save itself."""
        if saving:
            self._behind.append(seconds)
        else:
            self._free.append(seconds)

    def take(self) -> float:
        """Return the seconds lost since the last call; 0 where no free step was seen."""
        behind, self._behind = self._behind, []
        if not self._free:
            return 0.0
        return max(sum(behind) - len(behind) * self.usual, 0.0)


def _known(value: float | None) -> list[float]:
    return [] if value is None else [value]
