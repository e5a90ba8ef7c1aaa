"""What is wrong with a price list as a whole, and the prices that are left of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from statistics import median

from .models import Catalog
from .prices import Price
from .rows import Finding, Row, clean_row

__all__ = ["OLD_DAYS", "check_together", "prices_of", "spot_from_saving"]

OLD_DAYS = 30
"""A list that is older should be fetched again; see also ``prices.STALE_DAYS``."""

_OUTLIER = Decimal("2.2")
_LINEAR = Decimal("0.10")
_CENT = Decimal("0.0001")


def prices_of(
    rows: Iterable[Row], catalog: Catalog, source: str
) -> tuple[list[Price], list[Finding]]:
    """Return the prices of a list that can be believed, and what was wrong with the others.

    Rows of one machine in several zones of a region become one price: the dearest on demand, and
    the range of spot prices.
    """
    findings: list[Finding] = []
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        clean, found = clean_row(row, catalog)
        findings += found
        if clean is not None and (clean.price is not None or clean.spot is not None):
            groups.setdefault((clean.gpu, clean.cloud, clean.sku, clean.region), []).append(clean)
    prices = [_price(group, source, findings) for group in groups.values()]
    return prices, findings


def _price(group: Sequence[Row], source: str, findings: list[Finding]) -> Price:
    first = group[0]
    amounts = {row.price for row in group if row.price is not None}
    if len(amounts) > 1:
        listed = ", ".join(str(amount) for amount in sorted(amounts))
        findings.append(
            Finding(
                "price-differs", f"{first.sku} in {first.region}",
                f"on-demand prices {listed}: the dearest counts", "kept",
            )
        )  # fmt: skip
    spots = [row.of_gpu(row.spot).quantize(_CENT) for row in group if row.spot is not None]
    top = max(amounts, default=None)
    return Price(
        gpu=first.gpu, cloud=first.cloud, sku=first.sku, gpus=int(first.gpus),
        region=first.region, instance_hour=None if first.per_gpu else top,
        gpu_hour=top if first.per_gpu else None,
        spot_gpu_hour=(min(spots), max(spots)) if spots else None,
        source=source, as_of=min(row.as_of for row in group), own=True,
    )  # fmt: skip


def check_together(prices: Sequence[Price], today: date | None = None) -> list[Finding]:
    """Return what is odd about prices beside one another; none of it makes a price unusable."""
    return [*_regions(prices), *_sizes(prices), *(_ages(prices, today) if today else ())]


def _regions(prices: Sequence[Price]) -> Iterable[Finding]:
    by_sku: dict[tuple[str, str], list[tuple[Decimal, Price]]] = {}
    for price in prices:
        if price.on_demand_gpu_hour is not None:
            by_sku.setdefault((price.cloud, price.sku), []).append(
                (price.on_demand_gpu_hour, price)
            )
    for group in by_sku.values():
        middle = median(amount for amount, _ in group)
        for amount, price in group:
            if not middle / _OUTLIER <= amount <= middle * _OUTLIER:
                yield Finding(
                    "region-outlier", f"{price.sku} in {price.region}",
                    f"{amount.quantize(_CENT)} per GPU and hour, the median of its regions is "
                    f"{middle.quantize(_CENT)}", "kept",
                )  # fmt: skip


def _sizes(prices: Sequence[Price]) -> Iterable[Finding]:
    """Compare the cheapest machine of each size with the smallest of its family."""
    families: dict[tuple[str, str, str, str], dict[int, Price]] = {}
    for price in prices:
        if price.on_demand_gpu_hour is None:
            continue
        sizes = families.setdefault((price.cloud, price.region, price.gpu, _family(price.sku)), {})
        kept = sizes.get(price.gpus)
        if kept is None or _each(price) < _each(kept):
            sizes[price.gpus] = price
    for sizes in families.values():
        one = sizes.get(min(sizes))
        for price in sizes.values():
            if one is not None and abs(_each(price) / _each(one) - 1) > _LINEAR:
                yield Finding(
                    "price-not-linear", f"{price.sku} in {price.region}",
                    f"{_each(price).quantize(_CENT)} per GPU, {_each(one).quantize(_CENT)} as "
                    f"{one.sku}", "kept",
                )  # fmt: skip


def _each(price: Price) -> Decimal:
    return price.on_demand_gpu_hour or Decimal(0)


def _family(sku: str) -> str:
    """Return the family of a machine: g5 of g5.xlarge, a2-highgpu of a2-highgpu-1g."""
    head, dot, _ = sku.partition(".")
    return head if dot else re.sub(r"[-_]?\d+[a-z]*$", "", sku)


def _ages(prices: Sequence[Price], today: date) -> Iterable[Finding]:
    for price in prices:
        days = (today - price.age_from).days
        if days > OLD_DAYS:
            yield Finding(
                "price-old", f"{price.sku} in {price.region}",
                f"{days} days old, as of {price.age_from}", "kept",
            )  # fmt: skip
        elif days < 0:
            yield Finding(
                "price-from-future", f"{price.sku} in {price.region}",
                f"dated {price.age_from}, which is yet to come", "kept",
            )  # fmt: skip


def spot_from_saving(on_demand: Decimal, percent: Decimal) -> Decimal | None:
    """Return the spot price at a saving such as AWS Spot Advisor's; None where it is no saving.

    The Advisor has shown −62 % for p5.48xlarge in ca-central-1: spot above on-demand.
    """
    return on_demand * (100 - percent) / 100 if 0 < percent < 100 else None
