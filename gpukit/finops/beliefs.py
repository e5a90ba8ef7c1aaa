"""What is believed of a job's times before and after some of its runs: priors, updated by data.

Three kinds: a positive quantity (hours of work over the declared ones, a restart, a wait), the
gaps between interruptions, and the deterministic numbers that samples are drawn with. Standard
conjugate or gridded Bayes, so a few runs move an estimate a little and many runs rule it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

__all__ = ["Draws", "Gap", "GapBelief", "LogBelief", "Range", "gap_belief", "log_belief"]

_MASK = 2**64 - 1
_NORMAL = NormalDist()
_Z90 = _NORMAL.inv_cdf(0.95)


class Draws:
    """Numbers that look random and are the same for the same seed (splitmix64)."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def uniform(self) -> float:
        """Return a number between 0 and 1, neither of them."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (((z ^ (z >> 31)) >> 11) + 0.5) / 2**53

    def normal(self) -> float:
        """Return a standard normal number."""
        return _NORMAL.inv_cdf(self.uniform())

    def stretch(self, freedom: int) -> float:
        """Return the factor that makes a normal number one of Student's t distribution."""
        if freedom > 40:
            return 1.0
        chi2 = -2 * sum(math.log(self.uniform()) for _ in range(freedom // 2))
        if freedom % 2:
            chi2 += self.normal() ** 2
        return math.sqrt(freedom / chi2)


@dataclass(frozen=True)
class Range:
    """A quantity by its 5 %, 50 % and 95 % points."""

    low: float
    typical: float
    high: float


@dataclass(frozen=True)
class LogBelief:
    """The logarithm of a positive quantity is Student-t: place, width and degrees of freedom."""

    place: float
    width: float
    freedom: int

    def world(self, draws: Draws) -> LogBelief:
        """Return one possible world, in which the width is known."""
        return LogBelief(self.place, self.width * draws.stretch(self.freedom), 1000)

    def draw(self, draws: Draws) -> float:
        """Return one value of this world."""
        shift = self.width * draws.normal() if self.width else 0.0
        return math.exp(self.place + max(min(shift, 8.0), -8.0))

    @property
    def median(self) -> float:
        """The value that it exceeds half of the time."""
        return math.exp(self.place)


def log_belief(
    typical: float, spread: float, seen: Sequence[float] = (), *, weight: float = 1.0,
    freedom: int = 6,
) -> LogBelief:  # fmt: skip
    """Return the belief after having seen values (normal-inverse-gamma prior on the logarithm).

    Args:
        typical: the prior's median.
        spread: 90 % of what is expected lies within a factor of ``exp(spread)`` around it.
        seen: positive values.
        weight: how many values the prior's median counts for.
        freedom: how many values its spread counts for.
    """
    prior = math.log(typical)
    # width so that the prior's own prediction has the stated spread
    scale = spread / _T95.get(freedom, _Z90) / math.sqrt(1 + 1 / weight)
    logs = [math.log(max(value, 1e-9)) for value in seen]
    n = len(logs)
    mean = sum(logs) / n if n else prior
    squares = sum((value - mean) ** 2 for value in logs)
    squares += weight * n / (weight + n) * (mean - prior) ** 2
    variance = (freedom * scale**2 + squares) / (freedom + n)
    place = (weight * prior + n * mean) / (weight + n)
    return LogBelief(place, math.sqrt(variance * (1 + 1 / (weight + n))), freedom + n)


_T95 = {4: 2.132, 6: 1.943, 8: 1.860}  # Student-t, 95 % points


@dataclass(frozen=True)
class Gap:
    """Hours from the start of an attempt to its interruption, or to its end without one."""

    hours: float
    interrupted: bool


_SHAPES = (
    (0.4, 0.04),
    (0.55, 0.07),
    (0.7, 0.11),
    (0.85, 0.17),
    (1.0, 0.42),
    (1.3, 0.13),
    (1.8, 0.06),
)
"""Weibull shapes and their prior weights: 1 is a constant rate; below it, heavy tails."""
_GRID, _REACH = 41, 4.0


@dataclass(frozen=True)
class GapBelief:
    """Gaps are Weibull; a weighted grid of (scale, shape), as cumulated weights."""

    cumulated: tuple[float, ...]
    points: tuple[tuple[float, float], ...]
    means: tuple[float, ...]

    def parameters(self, draws: Draws) -> tuple[float, float]:
        """Return scale and shape of one possible world."""
        place = draws.uniform() * self.cumulated[-1]
        return self.points[min(bisect_left(self.cumulated, place), len(self.points) - 1)]

    def mtbi(self, level: float) -> float:
        """Return a quantile of the mean time between interruptions, hours."""
        order = sorted(range(len(self.means)), key=self.means.__getitem__)
        weights = [c - p for p, c in zip((0.0, *self.cumulated), self.cumulated, strict=False)]
        total = 0.0
        for i in order:
            total += weights[i]
            if total >= level * self.cumulated[-1]:
                return self.means[i]
        return self.means[order[-1]]


def gap_belief(prior: Range, seen: Sequence[Gap] = ()) -> GapBelief:
    """Return the belief on gaps after having seen some; unfinished ones count as "at least".

    Args:
        prior: of the mean time between interruptions, hours.
        seen: gaps of earlier runs.
    """
    middle = math.log(prior.typical)
    below = max(math.log(prior.typical / prior.low), 1e-6) / _Z90
    above = max(math.log(prior.high / prior.typical), 1e-6) / _Z90
    events = [max(gap.hours, 1e-6) for gap in seen if gap.interrupted]
    every = [max(gap.hours, 1e-6) for gap in seen]
    logs, n = sum(map(math.log, events)), len(events)
    points: list[tuple[float, float]] = []
    means: list[float] = []
    scores: list[float] = []
    for shape, weight in _SHAPES:
        powers = sum(hours**shape for hours in every)
        for i in range(_GRID):
            z = _REACH * (2 * i / (_GRID - 1) - 1)
            mean = math.exp(middle + z * (above if z > 0 else below))
            scale = mean / math.gamma(1 + 1 / shape)
            score = math.log(weight) - 3.5 * math.log1p(z * z / 6)  # Student-t, 6 degrees
            if every:
                score += n * math.log(shape) - n * shape * math.log(scale)
                score += (shape - 1) * logs - powers / scale**shape
            points.append((scale, shape))
            means.append(mean)
            scores.append(score)
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    return GapBelief(tuple(accumulate(weights)), tuple(points), tuple(means))
