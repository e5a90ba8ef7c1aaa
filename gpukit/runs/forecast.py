"""What is said of a run before it starts: the gate of its budget, and a band to compare with."""

from __future__ import annotations

import statistics
import zlib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gpukit.catalog import PodPrice
from gpukit.errors import BudgetError
from gpukit.finops.beliefs import Range
from gpukit.finops.calibration import Coverage
from gpukit.finops.costing import LEVELS, Job, spot_row
from gpukit.finops.estimate import Assumptions, Estimate, Past, believe, estimate
from gpukit.quantity import format_money
from gpukit.spec import JobSpec

from .history import Said, outcomes, past_of
from .plan import Plan

__all__ = ["LocalBeliefs", "check_budget", "local_band", "local_beliefs", "say_local"]

_LOCAL = Assumptions(
    mtbi=Range(5 / 3600, 60 / 3600, 1.0), save=0.02 / 3600, restart=2 / 3600, wait=1 / 3600
)
_CHECKPOINTS = 20  # of a local run, taken where nothing says how often it saves


@dataclass(frozen=True)
class LocalBeliefs:
    """What earlier local runs of a job say of the next one.

    Attributes:
        assumed: where the records say nothing.
        past: what they say.
        hours: useful hours: as declared, else the median of the records; None: unknown.
        held: how the bands held that were stated before.
        interrupted: some of them were interrupted.
    """

    assumed: Assumptions
    past: Past
    hours: Decimal | None
    held: Coverage
    interrupted: bool


def local_beliefs(
    job: str, hours: Decimal | None = None, *, home: Path | None = None
) -> LocalBeliefs:
    """Return what earlier local runs of a job say of the next one."""
    found = outcomes(job, home=home)
    useful = [one.useful for one in found if one.useful > 0]
    if hours is None and useful:
        hours = Decimal(repr(statistics.median(useful)))
    past, held = past_of(found, hours=float(hours) if hours else None)
    return LocalBeliefs(_LOCAL, past, hours, held, any(gap.interrupted for gap in past.gaps))


def say_local(plan: Plan, hours: Decimal | None, *, interrupted: bool) -> Said | None:
    """Return the band of the next local run; None where its hours are unknown.

    Args:
        plan: what is to run.
        hours: declared useful hours.
        interrupted: interruptions are simulated.
    """
    known = local_beliefs(str(plan.resolved.spec.name), hours)
    if known.hours is None:
        return None
    seed = zlib.crc32(plan.bundle.run.encode())
    found = local_band(known, float(known.hours), None, interrupted=interrupted, seed=seed)
    return Said.of(float(known.hours), found)


def local_band(
    known: LocalBeliefs, hours: float, price: Decimal | None, *, interrupted: bool, seed: int
) -> Estimate:
    """Return the estimate of a local run of so many useful hours."""
    conditions = believe(
        hours, known.assumed, known.past, interval=hours / _CHECKPOINTS, interrupted=interrupted,
        notice=True,
    )  # fmt: skip
    return estimate(conditions, price, scores=known.past.scores, seed=seed)


def check_budget(plan: Plan, hours: Decimal | None, *, saves: bool) -> str:
    """Refuse a run whose budget, or whose choice of spot, cannot hold; else return a warning.

    Without hours nothing is known before it runs: the runtime then ends it at ``max_cost``.

    Args:
        plan: what is to run.
        hours: declared useful hours; None: unknown.
        saves: it saves checkpoints.

    Raises:
        BudgetError: half of the runs would cost more than ``max_cost``, or spot is hopeless.
    """
    spec, price = plan.resolved.spec, plan.placement.price_per_hour
    if hours is None:
        return ""
    _refuse_hopeless(plan, spec, hours, saves)
    if spec.max_cost is None or price is None:
        return ""
    found = _on_hardware(spec, hours, price, saves)
    if found.cost is None:
        return ""
    low, middle, high = found.cost
    band = f"{format_money(middle)} (90 %: {format_money(low)} to {format_money(high)})"
    if middle > spec.max_cost:
        raise BudgetError(
            "budget-estimate",
            f"max_cost={format_money(spec.max_cost)} is less than the estimate of {band}",
            "raise max_cost, take a cheaper profile or capacity (`gpukit cost`), or submit with "
            "--override-budget: it is still stopped when the money is spent",
        )
    chance = found.above(spec.max_cost, price)
    if chance < 0.05:
        return ""
    return (
        f"{chance:.0%} of such runs cost more than max_cost={format_money(spec.max_cost)} and "
        f"would be stopped by it: the estimate is {band}"
    )


def _refuse_hopeless(plan: Plan, spec: JobSpec, hours: Decimal, saves: bool) -> None:
    if spec.spot is not True:
        return
    job = Job(str(spec.name), spec.stage, hours, saves, at_most=_at_most(spec))
    typical = spot_row(job, plan.placement.price, _assumed(spec), LEVELS[1])
    if typical.hopeless is not None:
        raise BudgetError(
            typical.hopeless.id, f"spot=True: {typical.hopeless.reason}",
            f"{typical.hopeless.hint}; --override-budget submits it all the same",
        )  # fmt: skip


def _on_hardware(spec: JobSpec, hours: Decimal, price: Decimal, saves: bool) -> Estimate:
    """Return what `gpukit cost` says as well: the same conditions, the same seed."""
    job = Job(str(spec.name), spec.stage, hours, saves, at_most=_at_most(spec))
    assumed = _assumed(spec)
    interval = None
    if saves:
        row = spot_row(job, PodPrice(price, price, ""), assumed, LEVELS[1])
        interval = None if row.interval is None else float(row.interval)
    conditions = believe(float(hours), assumed, interval=interval, interrupted=spec.spot is True)
    return estimate(conditions, price)


def _assumed(spec: JobSpec) -> Assumptions:
    every = spec.checkpoint_every
    return Assumptions().for_saves_every(None if every is None else every / 3600)


def _at_most(spec: JobSpec) -> Decimal | None:
    return None if spec.checkpoint_every is None else Decimal(spec.checkpoint_every) / 3600
