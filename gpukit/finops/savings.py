"""The short sums of FinOps, in Decimal: fleets, waste, savings, moving data, payback."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

__all__ = [
    "Part", "cards_needed", "combined_saving", "fleet_cost", "idle_waste", "marked_up",
    "payback_days", "saved", "transfer_cost", "useful_capacity", "with_lost_time",
]  # fmt: skip

_ONE = Decimal(1)


@dataclass(frozen=True)
class Part:
    """A part of a fleet: GPUs at a rate of US dollars per GPU and hour; None is unknown."""

    gpus: int
    rate: Decimal | None
    hours: Decimal = Decimal(730)


def fleet_cost(parts: Iterable[Part]) -> Decimal | None:
    """Return what all parts cost; None where the rate of one of them is unknown."""
    total = Decimal(0)
    for part in parts:
        if part.rate is None:
            return None
        total += part.gpus * part.rate * part.hours
    return total


def idle_waste(cost: Decimal, utilisation: Decimal) -> Decimal:
    """Return the money for what was not used, by mean utilisation: ``cost · (1 − utilisation)``."""
    return cost * (1 - utilisation)


def useful_capacity(gpus: int, utilisation: Decimal) -> Decimal:
    """Return the GPUs that would do the same work if they were always busy."""
    return gpus * utilisation


def saved(before: Decimal, after: Decimal) -> Decimal:
    """Return the part of ``before`` that is saved; negative where it costs more."""
    return 1 - after / before


def combined_saving(*savings: Decimal) -> Decimal:
    """Return what several savings make together: ``1 − Π(1 − s)``, not their sum."""
    rest = _ONE
    for one in savings:
        rest *= 1 - one
    return 1 - rest


def marked_up(rate: Decimal, extra: Decimal) -> Decimal:
    """Return a rate with that part of extra paid time: ``rate · (1 + extra)``."""
    return rate * (1 + extra)


def with_lost_time(rate: Decimal, lost: Decimal) -> Decimal:
    """Return a rate of which that part of the paid time is lost: ``rate / (1 − lost)``."""
    return rate / (1 - lost)


def cards_needed(jobs: int, per_card: int) -> int:
    """Return the cards for jobs of which so many share one."""
    return -(-jobs // per_card)


def transfer_cost(terabytes: Decimal, per_gb: Decimal) -> Decimal:
    """Return what moving data costs, of decimal terabytes: clouds bill 1 TB as 1000 GB."""
    return terabytes * 1000 * per_gb


def payback_days(
    once: Decimal, saved_per_day: Decimal, recurring_per_day: Decimal = Decimal(0)
) -> Decimal | None:
    """Return the days until a saving has paid for itself; None: never."""
    gain = saved_per_day - recurring_per_day
    return once / gain if gain > 0 else None
