"""Do 90 % of runs end inside the stated 90 % band? How they fared corrects the next band.

An actual value's score says where in its band it fell: −1 at the lower end, 0 in the middle, +1 at
the upper end. If the estimates are right, 5 % of scores lie below −1 and 5 % above +1. The next
band ends at the scores that 5 % and 95 % of the past stay below (conformal prediction: no
assumption on the distribution of interruptions), with some scores of a right model as a prior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Band", "Coverage", "Scores", "corrected", "coverage", "score"]

_PRIOR = 40  # scores of a right model that stand beside the real ones
_NEWEST = 200  # older scores say little of today
_NARROWEST = 1e-3  # half-width of a band in logarithms, at least
_WIDEST = 50.0


@dataclass(frozen=True)
class Band:
    """5 %, 50 % and 95 % of a positive quantity."""

    low: float
    middle: float
    high: float

    def holds(self, actual: float) -> bool:
        """Tell whether an actual value is inside."""
        return self.low <= actual <= self.high


@dataclass(frozen=True)
class Scores:
    """How earlier estimates fared, oldest first: of billed hours, and of wall-clock."""

    billed: tuple[float, ...] = ()
    wall: tuple[float, ...] = ()


@dataclass(frozen=True)
class Coverage:
    """How many of some runs were inside their band, below it, above it."""

    runs: int
    inside: int
    below: int
    above: int

    @property
    def share(self) -> float | None:
        """Part of the runs inside their band; None without a run."""
        return self.inside / self.runs if self.runs else None


def score(band: Band, actual: float) -> float:
    """Return where an actual value fell in its band (before correction)."""
    if math.isinf(band.high) or actual <= 0:
        return 0.0
    up, down = _widths(band)
    distance = math.log(actual / band.middle)
    found = distance / (up if distance > 0 else down)
    return max(min(found, _WIDEST), -_WIDEST)


def corrected(band: Band, scores: Sequence[float], level: float = 0.90) -> Band:
    """Return the band whose ends are where the scores say that ``level`` of runs fall.

    Args:
        band: of the model.
        scores: of earlier runs, from their bands before correction, oldest first.
        level: the part of runs that is to be inside.
    """
    if not scores or math.isinf(band.high):
        return band
    normal = NormalDist(0, 1 / NormalDist().inv_cdf((1 + level) / 2))
    prior = [normal.inv_cdf((i + 0.5) / _PRIOR) for i in range(_PRIOR)]
    ranked = sorted([*scores[-_NEWEST:], *prior])
    tail = (1 - level) / 2
    low, middle, high = (_rank(ranked, part) for part in (tail, 0.5, 1 - tail))
    return Band(*(_at(band, place) for place in (low, middle, high)))


def coverage(bands: Sequence[Band], actuals: Sequence[float]) -> Coverage:
    """Count how many actual values are inside their bands."""
    pairs = list(zip(bands, actuals, strict=True))
    below = sum(actual < band.low for band, actual in pairs)
    above = sum(actual > band.high for band, actual in pairs)
    return Coverage(len(pairs), len(pairs) - below - above, below, above)


def _at(band: Band, place: float) -> float:
    up, down = _widths(band)
    return band.middle * math.exp(min(place * (up if place > 0 else down), 50.0))


def _widths(band: Band) -> tuple[float, float]:
    return (
        max(math.log(band.high / band.middle), _NARROWEST),
        max(math.log(band.middle / band.low), _NARROWEST),
    )


def _rank(ranked: Sequence[float], part: float) -> float:
    place = part * (len(ranked) + 1) - 1
    below = max(min(int(place), len(ranked) - 2), 0)
    share = max(min(place - below, 1.0), 0.0)
    return ranked[below] + (ranked[below + 1] - ranked[below]) * share
