"""How long and how much: a distribution of wall-clock, billed hours and money, before a run.

Many possible runs are drawn from what is believed of the job and of interruptions; the band is
their 5 % to 95 %, corrected by how earlier estimates fared (:mod:`gpukit.finops.calibration`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from .beliefs import Draws, Gap, GapBelief, LogBelief, Range, gap_belief, log_belief
from .calibration import Band, Scores, corrected

__all__ = [
    "LEVEL", "Assumptions", "Conditions", "Estimate", "Past", "Samples", "believe", "estimate",
    "one_run", "simulate",
]  # fmt: skip

LEVEL = 0.90
"""The part of runs that is to end inside the stated band."""

_DRAWS = 2000
_MOST = 2000  # interruptions, or times the work, after which a run never finishes
_MONEY = Decimal("0.0001")


@dataclass(frozen=True)
class Assumptions:
    """What an estimate assumes where nothing better is known; hours.

    Attributes:
        mtbi: mean time between interruptions on spot. Published V100 spot traces have 0.7 to
            10 h, the FinOps guide says 6 to 20 h.
        save: a checkpoint holds the job up for this long.
        restart: from the start of a pod after an interruption to useful work again, billed.
        wait: from an interruption to the start of the next pod: time, not money.
        spread: 90 % of jobs take their declared hours up to a factor of ``exp(spread)``.
    """

    mtbi: Range = field(default_factory=lambda: Range(1.0, 6.0, 20.0))
    save: float = 1 / 60
    restart: float = 10 / 60
    wait: float = 5 / 60
    spread: float = 0.25

    def for_saves_every(self, hours: float | None) -> Assumptions:
        """Return these for a job that saves that often: who does has saves that are short."""
        return self if hours is None else replace(self, save=min(self.save, hours / 10))


@dataclass(frozen=True)
class Past:
    """What earlier runs of the same kind teach.

    Attributes:
        ratios: useful hours over the declared ones.
        restarts: hours.
        waits: hours.
        gaps: between interruptions.
        scores: how their estimates fared.
    """

    ratios: tuple[float, ...] = ()
    restarts: tuple[float, ...] = ()
    waits: tuple[float, ...] = ()
    gaps: tuple[Gap, ...] = ()
    scores: Scores = field(default_factory=Scores)


@dataclass(frozen=True)
class Conditions:
    """One way of running a job: what is believed of it.

    Attributes:
        hours: declared useful hours.
        interval: useful hours between checkpoints; None: it saves none.
        save: hours of a checkpoint.
        work: useful hours over the declared ones.
        restart: hours from a pod's start to useful work.
        wait: hours from an interruption to the next pod's start.
        gaps: between interruptions; None where nothing interrupts.
        notice: an interrupted attempt has the time for a last checkpoint.
    """

    hours: float
    interval: float | None
    save: float
    work: LogBelief
    restart: LogBelief
    wait: LogBelief
    gaps: GapBelief | None
    notice: bool = False


@dataclass(frozen=True)
class Samples:
    """Possible runs, each list sorted: billed hours, wall-clock hours, interruptions."""

    billed: tuple[float, ...]
    wall: tuple[float, ...]
    interruptions: tuple[int, ...]

    def above(self, hours: float) -> float:
        """Return the part of runs that bill more than ``hours``."""
        return sum(value > hours for value in self.billed) / len(self.billed)


@dataclass(frozen=True)
class Estimate:
    """What a run takes and costs, with its band.

    Attributes:
        billed: hours that are paid for.
        wall: hours from the first start to the end.
        cost: US dollars; None where the price is unknown.
        interruptions: 5 %, 50 % and 95 % of their number.
        unfinished: part of the possible runs that never finish.
        samples: the possible runs.
        model: bands of billed and wall-clock hours before correction; what scores are made from.
    """

    billed: Band
    wall: Band
    cost: tuple[Decimal, Decimal, Decimal] | None
    interruptions: tuple[int, int, int]
    unfinished: float
    samples: Samples
    model: tuple[Band, Band]

    def above(self, budget: Decimal, price: Decimal) -> float:
        """Return the chance that it costs more than ``budget`` at ``price`` per hour."""
        return self.samples.above(float(budget / price))


def believe(
    hours: float,
    assumed: Assumptions,
    past: Past | None = None,
    *,
    interval: float | None,
    interrupted: bool,
    notice: bool = False,
) -> Conditions:
    """Return the conditions of a run from what is assumed and what earlier runs taught.

    Args:
        hours: declared useful hours.
        assumed: where nothing better is known.
        past: earlier runs.
        interval: useful hours between checkpoints; None: it saves none.
        interrupted: it runs where it can be interrupted.
        notice: there is time for a last checkpoint.
    """
    past = past or Past()
    return Conditions(
        hours=hours,
        interval=interval,
        save=assumed.save,
        work=log_belief(1.0, assumed.spread, past.ratios),
        restart=log_belief(max(assumed.restart, 1e-6), 0.7, past.restarts),
        wait=log_belief(max(assumed.wait, 1e-6), 1.0, past.waits),
        gaps=gap_belief(assumed.mtbi, past.gaps) if interrupted else None,
        notice=notice,
    )


def estimate(
    conditions: Conditions, price: Decimal | None, *, scores: Scores | None = None, seed: int = 0,
    draws: int = _DRAWS,
) -> Estimate:  # fmt: skip
    """Return the band of a run.

    Args:
        conditions: how it runs.
        price: US dollars per billed hour; None: unknown.
        scores: how earlier estimates fared.
        seed: of the possible runs.
        draws: how many of them.
    """
    found = simulate(conditions, seed=seed, draws=draws)
    scores = scores or Scores()
    model = _band(found.billed), _band(found.wall)
    billed, wall = corrected(model[0], scores.billed), corrected(model[1], scores.wall)
    wall = replace(wall, **{n: max(getattr(wall, n), getattr(billed, n)) for n in _POINTS})
    return Estimate(
        billed=billed,
        wall=wall,
        cost=_cost(billed, price),
        interruptions=_counts(found.interruptions),
        unfinished=sum(math.isinf(hours) for hours in found.wall) / len(found.wall),
        samples=found,
        model=model,
    )


_POINTS = ("low", "middle", "high")


def _cost(billed: Band, price: Decimal | None) -> tuple[Decimal, Decimal, Decimal] | None:
    if price is None or math.isinf(billed.high):
        return None
    low, middle, high = (
        (price * Decimal(repr(hours))).quantize(_MONEY)
        for hours in (billed.low, billed.middle, billed.high)
    )
    return low, middle, high


def _band(values: Sequence[float]) -> Band:
    tail = (1 - LEVEL) / 2
    return Band(_quantile(values, tail), _quantile(values, 0.5), _quantile(values, 1 - tail))


def _counts(values: Sequence[int]) -> tuple[int, int, int]:
    low, middle, high = (values[int(part * (len(values) - 1))] for part in (0.05, 0.5, 0.95))
    return low, middle, high


def _quantile(values: Sequence[float], level: float) -> float:
    place = level * (len(values) + 1) - 1
    below = max(min(int(place), len(values) - 2), 0)
    low, high = values[below], values[below + 1]
    if math.isinf(high) or low == high:
        return high
    return low + (high - low) * max(min(place - below, 1.0), 0.0)


def simulate(conditions: Conditions, *, seed: int = 0, draws: int = _DRAWS) -> Samples:
    """Draw possible runs; the same seed gives the same ones."""
    source = Draws(seed)
    runs = [_possible_run(conditions, source) for _ in range(draws)]
    return Samples(
        billed=tuple(sorted(run[0] for run in runs)),
        wall=tuple(sorted(run[1] for run in runs)),
        interruptions=tuple(sorted(run[2] for run in runs)),
    )


def _possible_run(conditions: Conditions, draws: Draws) -> tuple[float, float, int]:
    work = conditions.hours * conditions.work.world(draws).draw(draws)
    if conditions.gaps is None:
        saves = max(math.ceil(work / conditions.interval) - 1, 0) if conditions.interval else 0
        hours = work + saves * conditions.save
        return hours, hours, 0
    scale, shape = conditions.gaps.parameters(draws)
    restart, wait = conditions.restart.world(draws), conditions.wait.world(draws)
    inverse = 1 / shape
    gaps = (scale * (-math.log(draws.uniform())) ** inverse for _ in range(_MOST))
    rests = ((restart.draw(draws), wait.draw(draws)) for _ in range(_MOST))
    return one_run(
        work, conditions.interval, conditions.save, gaps, rests, notice=conditions.notice
    )


def one_run(
    work: float,
    interval: float | None,
    save: float,
    gaps: Iterable[float],
    rests: Iterable[tuple[float, float]],
    *,
    notice: bool = False,
) -> tuple[float, float, int]:
    """Return billed hours, wall-clock hours and interruptions of one run.

    Args:
        work: useful hours.
        interval: useful hours between checkpoints; None: it saves none.
        save: hours of a checkpoint.
        gaps: hours from each attempt's start to its interruption.
        rests: after each interruption, hours of restart and of waiting for the next pod.
        notice: what is done by an interruption is saved if there was the time for it.

    Returns:
        Infinite hours where the gaps ran out before the work was done.
    """
    left, billed, waited, boot, count = work, 0.0, 0.0, 0.0, 0
    following = iter(rests)
    for gap in gaps:
        saves = max(math.ceil(left / interval - 1e-9) - 1, 0) if interval else 0
        need = boot + left + saves * save
        if billed > _MOST * work:
            break
        if gap >= need:
            return billed + need, billed + waited + need, count
        count += 1
        billed += gap
        if interval and gap > boot:
            kept = int((gap - boot) / (interval + save)) * interval
            if notice:
                rest = gap - boot - kept * (1 + save / interval)
                kept += min(max(rest - save, 0.0), interval)
            left = max(left - kept, 1e-12)
        boot, wait = next(following)
        waited += wait
    return math.inf, math.inf, count
