"""What a job would cost, from its declaration and the price book alone, before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from gpukit.catalog import PodPrice

from .compare import Option, slowdown
from .estimate import Assumptions, Estimate, Past, believe, estimate
from .hybrid import Decision, decide
from .spot import Hopeless, Rework, best_interval, break_even_mtbi, judge, overhead, saving

__all__ = ["LEVELS", "CostReport", "Job", "Place", "SpotRow", "cost_of", "curve", "spot_row"]

LEVELS = ("low", "typical", "high")
_MONEY = Decimal("0.0001")
_MTBIS = tuple(Decimal(text) for text in ("0.25", "0.5", "1", "2", "4", "8", "16", "32"))


@dataclass(frozen=True)
class Job:
    """What the estimate needs to know of a job; hours.

    Attributes:
        name: of the job.
        stage: of the declaration.
        hours: useful hours on the declared profile; None: unknown, so only rates are said.
        saves: it saves checkpoints.
        at_most: useful hours between checkpoints, at most (``checkpoint_every``).
        busy: the part of the time that it keeps the whole GPU busy; None: unknown.
        max_cost: budget, US dollars.
    """

    name: str
    stage: str
    hours: Decimal | None
    saves: bool
    at_most: Decimal | None = None
    busy: Fraction | None = None
    max_cost: Decimal | None = None


@dataclass(frozen=True)
class Place:
    """One option with its totals: as fast as declared, and as slow as a busy job would be."""

    option: Option
    total: tuple[Decimal, Decimal] | None
    spot_total: tuple[Decimal, Decimal] | None
    saves: Decimal | None


@dataclass(frozen=True)
class SpotRow:
    """Spot at one MTBI; hours and US dollars. None is unknown, or never ends.

    Attributes:
        level: low, typical or high.
        mtbi: mean time between interruptions.
        interval: useful hours between checkpoints; None: it saves none.
        overhead: billed hours per useful hour.
        effective: US dollars per useful hour.
        total: US dollars for all hours.
        wall: hours from start to end, with waits for capacity.
        saves: part of the on-demand price.
        hopeless: why not.
    """

    level: str
    mtbi: Decimal
    interval: Decimal | None
    overhead: Decimal | None
    effective: Decimal | None
    total: Decimal | None
    wall: Decimal | None
    saves: Decimal | None
    hopeless: Hopeless | None


@dataclass(frozen=True)
class CostReport:
    """All of it.

    Attributes:
        job: what was asked.
        price: of the declared profile.
        places: where it could run.
        spot: rows at low, typical and high MTBI; empty where hours are unknown.
        break_even: MTBI in hours below which spot costs more; None: it always does, or unknown.
        decision: the capacity that is advised; None where hours are unknown.
        on_demand: estimate with its band.
        on_spot: estimate with its band.
        assumed: what was assumed.
    """

    job: Job
    price: PodPrice
    places: tuple[Place, ...]
    spot: tuple[SpotRow, ...]
    break_even: Decimal | None
    decision: Decision | None
    on_demand: Estimate | None
    on_spot: Estimate | None
    assumed: Assumptions


def cost_of(
    job: Job, price: PodPrice, found: Sequence[Option], *, assumed: Assumptions,
    past: Past | None = None, seed: int = 0,
) -> CostReport:  # fmt: skip
    """Put together what a job would cost.

    Args:
        job: what is known of it.
        price: of its declared profile.
        found: the places where it could run.
        assumed: where nothing better is known.
        past: what earlier runs teach.
        seed: of the possible runs that the bands come from.
    """
    places = tuple(_place(option, found, job) for option in found)
    rows = tuple(spot_row(job, price, assumed, level) for level in LEVELS) if job.hours else ()
    ratio = price.on_demand / price.spot if price.on_demand and price.spot else None
    save = _exact(assumed.save)
    even = None
    if ratio is not None and (job.saves or job.hours):
        even = break_even_mtbi(
            ratio, save=save if job.saves else Decimal(0), restart=_exact(assumed.restart),
            interval=None if job.saves else job.hours,
        )  # fmt: skip
    decision = None
    if rows and (price.spot is not None or job.stage == "inference-sla"):
        decision = decide(job.stage, {row.level: row.hopeless for row in rows})
    bands: list[Estimate | None] = [None, None]
    if job.hours:
        interval = rows[1].interval if job.saves else None
        for i, amount in enumerate((price.on_demand, price.spot)):
            conditions = believe(
                float(job.hours), assumed, past, interrupted=i == 1,
                interval=None if interval is None else float(interval),
            )  # fmt: skip
            scores = past.scores if past else None
            bands[i] = estimate(conditions, amount, scores=scores, seed=seed)
    return CostReport(
        job, price, places, rows, even, decision, on_demand=bands[0], on_spot=bands[1],
        assumed=assumed,
    )  # fmt: skip


def spot_row(job: Job, price: PodPrice, assumed: Assumptions, level: str) -> SpotRow:
    """Return what spot costs at one of the assumed MTBIs."""
    hours = job.hours or Decimal(1)
    mtbi = _exact(getattr(assumed.mtbi, level))
    rework = _rework(job, hours, mtbi, assumed)
    found = overhead(rework)
    effective = None if found is None or price.spot is None else price.spot * found
    wall = None
    if found is not None:
        times = ((rework.interval + rework.save) / mtbi).exp() - 1
        wall = hours * (found + times / rework.interval * _exact(assumed.wait))
    return SpotRow(
        level=level,
        mtbi=mtbi,
        interval=rework.interval if job.saves else None,
        overhead=found,
        effective=effective,
        total=None if effective is None else (hours * effective).quantize(_MONEY),
        wall=wall,
        saves=None if effective is None or not price.on_demand
        else saving(effective, price.on_demand),
        hopeless=judge(
            hours, rework, saves=job.saves, on_demand=price.on_demand, spot=price.spot
        ),
    )  # fmt: skip


def curve(report: CostReport) -> tuple[tuple[Decimal, Decimal | None], ...]:
    """Return US dollars per useful hour on spot at MTBIs from a quarter of an hour on."""
    spot = report.price.spot
    if spot is None:
        return ()
    hours = report.job.hours or Decimal(1)
    points = []
    for mtbi in _MTBIS:
        found = overhead(_rework(report.job, hours, mtbi, report.assumed))
        points.append((mtbi, None if found is None else spot * found))
    return tuple(points)


def _rework(job: Job, hours: Decimal, mtbi: Decimal, assumed: Assumptions) -> Rework:
    restart = _exact(assumed.restart)
    if not job.saves:
        return Rework(mtbi, hours, Decimal(0), restart)
    save = _exact(assumed.save)
    interval = min(best_interval(mtbi, save), job.at_most or hours, hours)
    return Rework(mtbi, interval, save, restart)


def _place(option: Option, found: Sequence[Option], job: Job) -> Place:
    whole = next(o for o in found if o.gpu == option.gpu and o.kind == "full")
    declared = next((o for o in found if o.chosen and o.gpu == option.gpu), whole)
    if job.busy is not None:
        bounds = [slowdown(option.compute, declared.compute, job.busy)] * 2
    else:
        bounds = sorted(slowdown(option.compute, declared.compute, Fraction(b)) for b in (0, 1))
    part = [option.fraction * bound for bound in bounds]  # exact; the rates are rounded
    total = _times(whole.price.on_demand, job.hours, part)
    saves = None
    if total is not None:
        rest = part[1] / declared.fraction
        saves = 1 - Decimal(rest.numerator) / rest.denominator
    return Place(option, total, _times(whole.price.spot, job.hours, part), saves)


def _times(
    rate: Decimal | None, hours: Decimal | None, bounds: Sequence[Fraction]
) -> tuple[Decimal, Decimal] | None:
    if rate is None or hours is None:
        return None
    low, high = ((rate * hours * f.numerator / f.denominator).quantize(_MONEY) for f in bounds)
    return low, high


def _exact(hours: float) -> Decimal:
    return Decimal(repr(hours))
