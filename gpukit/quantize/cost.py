"""What inference costs: from measured throughput and a price, never from the size of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

__all__ = ["HOURS_PER_MONTH", "Break", "Rate", "break_even", "rate_of", "saving_words"]

HOURS_PER_MONTH = Decimal(730)


@dataclass(frozen=True)
class Rate:
    """What serving with one model costs, in the currency of the price.

    ``replicas`` and ``per_month`` are None without a request rate, ``per_100k_tokens`` where it
    is not known how many tokens an example has.
    """

    per_inference: Decimal
    per_100k_tokens: Decimal | None
    replicas: int | None
    per_month: Decimal | None


@dataclass(frozen=True)
class Break:
    """When a saving has paid for the work: the saving per month, and months; None for never."""

    saving: Decimal
    months: Decimal | None


def rate_of(
    price_per_hour: Decimal, throughput: float, *, tokens: float | None = None,
    requests_per_second: float | None = None, utilisation: float = 0.7,
) -> Rate:  # fmt: skip
    """Return the cost with a model of a measured throughput.

    Args:
        price_per_hour: of what serves one stream: a GPU, a slice, a pod's CPUs.
        throughput: examples per second that it was measured to do.
        tokens: tokens of an example, for a price by tokens.
        requests_per_second: examples per second that are to be served.
        utilisation: part of its time that a replica may be busy; the rest is for peaks.
    """
    per_second = Decimal(repr(throughput))
    per_inference = price_per_hour / (3600 * per_second)
    by_tokens = None if not tokens else per_inference / Decimal(repr(tokens)) * 100_000
    if requests_per_second is None:
        return Rate(per_inference, by_tokens, None, None)
    need = Decimal(repr(requests_per_second)) / (per_second * Decimal(repr(utilisation)))
    replicas = max(1, int(need.to_integral_value(ROUND_CEILING)))
    return Rate(per_inference, by_tokens, replicas, replicas * price_per_hour * HOURS_PER_MONTH)


def break_even(before: Rate, after: Rate, engineering: Decimal | None) -> Break | None:
    """Return when the saving per month has paid for the work; None without a request rate."""
    if before.per_month is None or after.per_month is None:
        return None
    saving = before.per_month - after.per_month
    months = None if saving <= 0 or engineering is None else engineering / saving
    return Break(saving, months)


def saving_words(
    before: Rate, after: Rate, ratio: float, high: float, engineering: Decimal | None
) -> str:
    """Say in a sentence what is saved; that nothing is, is an answer.

    Args:
        before: with the original.
        after: with the result.
        ratio: of their latencies.
        high: upper end of its interval.
        engineering: what the work costs.
    """
    if high >= 1 or ratio >= 1:
        return (
            "no saving per inference: the result is not measurably faster. What is smaller is the "
            "file, so images, downloads and cold starts"
        )
    part = f"{(1 - ratio) * 100:.0f} % less per inference"
    found = break_even(before, after, engineering)
    if found is None:
        return part
    counts = f"{before.replicas} → {after.replicas} replicas"
    if found.saving <= 0:
        return f"no saving per month at this request rate: {counts}; {part} only once it grows"
    words = f"{part}; {counts}, {found.saving:.2f} less per month"
    if found.months is not None:
        words += f"; the work is paid for after {math.ceil(found.months * 10) / 10:.1f} months"
    return words
