"""List prices, and what a pod costs per hour by them. Unknown stays unknown, never 0."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["STALE_DAYS", "PodPrice", "Price", "pod_price"]

STALE_DAYS = 90
"""A price older than this is said to be old."""

_CENTS = Decimal("0.0001")

Amount = Annotated[Decimal, Field(gt=0), BeforeValidator(lambda value: Decimal(str(value)))]


class Price(BaseModel):
    """The list price of one machine type in one region.

    Attributes:
        gpu: name of the GPU in the catalog.
        cloud: whose price.
        sku: machine type.
        gpus: GPUs of the machine.
        region: where.
        instance_hour: US dollars per hour of the whole machine, on demand.
        gpu_hour: US dollars per hour of one GPU, on demand, where only that was read.
        spot_gpu_hour: lowest and highest spot price of one GPU that was seen.
        source: where the price was read.
        as_of: when.
        spot_source: where the spot price was read, if elsewhere.
        spot_as_of: when.
        own: it is from a file of the user's own, and counts before list prices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: str
    cloud: str
    sku: str
    gpus: int = Field(gt=0, le=16)
    region: str
    instance_hour: Amount | None = None
    gpu_hour: Amount | None = None
    spot_gpu_hour: tuple[Amount, Amount] | None = None
    source: str
    as_of: date
    spot_source: str | None = None
    spot_as_of: date | None = None
    own: bool = False

    @property
    def on_demand_gpu_hour(self) -> Decimal | None:
        """US dollars per GPU and hour on demand: the machine's price over its GPUs."""
        return self.gpu_hour if self.instance_hour is None else self.instance_hour / self.gpus

    @property
    def age_from(self) -> date:
        """The older of the dates of its parts."""
        return min(self.as_of, self.spot_as_of or self.as_of)


@dataclass(frozen=True)
class PodPrice:
    """What a pod costs per hour in US dollars, on demand and on spot; None is unknown.

    Attributes:
        on_demand: at the list price.
        spot: at the highest spot price that was seen, so that a budget is never overrun.
        source: where the prices come from, for a person; or why they are unknown.
        as_of: the older of their dates.
    """

    on_demand: Decimal | None
    spot: Decimal | None
    source: str
    as_of: date | None = None


def pod_price(
    prices: Iterable[Price],
    *,
    gpu: str,
    count: int,
    share: Fraction = Fraction(1),
    cloud: str,
    region: str,
    regions_else: Sequence[str] = (),
    too_small: Collection[str] = (),
) -> PodPrice:
    """Return what ``count`` GPUs, or a share of one, cost per hour in a region.

    The smallest machine with enough GPUs sets the price: one GPU of a machine of eight is often
    not to be had, and machines of one GPU cost more on spot. The user's own prices go before list
    prices; where they are of other regions only, the dearest of them counts.

    Args:
        prices: all that are known.
        gpu: name of the GPU.
        count: how many.
        share: which part of one.
        cloud: whose list prices.
        region: where.
        regions_else: where else to look, in this order, if nothing is known of the region.
        too_small: machines that the pod is known not to fit on.
    """
    of_gpu = [p for p in prices if p.gpu == gpu]
    places = (region, *regions_else)
    here = _own(of_gpu, cloud, region) or _first_place(of_gpu, cloud, places)
    if not here:
        return PodPrice(None, None, f"no price of {gpu} on {cloud} in {region} is known")
    fitting = [p for p in here if p.gpus >= count] or here
    fitting = [p for p in fitting if p.sku not in too_small] or fitting
    smallest = [p for p in fitting if p.gpus == min(p.gpus for p in fitting)]
    one_place = len({p.region for p in smallest}) == 1
    price = (min if one_place else max)(smallest, key=_order)
    part = share * count
    spot = price.spot_gpu_hour[1] if price.spot_gpu_hour else None
    return PodPrice(
        on_demand=_times(price.on_demand_gpu_hour, part),
        spot=_times(spot, part),
        source=_source(price, region),
        as_of=price.age_from,
    )


def _own(prices: Sequence[Price], cloud: str, region: str) -> list[Price]:
    mine = [p for p in prices if p.own]
    return [p for p in mine if (p.cloud, p.region) == (cloud, region)] or mine


def _first_place(prices: Sequence[Price], cloud: str, places: Sequence[str]) -> list[Price]:
    for place in places:
        found = [p for p in prices if (p.cloud, p.region) == (cloud, place) and not p.own]
        if found:
            return found
    return []


def _order(price: Price) -> Decimal:
    return price.on_demand_gpu_hour or Decimal("Infinity")


def _source(price: Price, region: str) -> str:
    if price.own:
        return f"your own price of {price.sku} in {price.region} ({price.source})"
    name = price.cloud.upper() if len(price.cloud) <= 3 else price.cloud.title()
    instead = f" for want of one in {region}" if price.region != region else ""
    return f"{name} {price.sku} in {price.region}{instead} ({price.source})"


def _times(price: Decimal | None, part: Fraction) -> Decimal | None:
    if price is None:
        return None
    return (price * part.numerator / part.denominator).quantize(_CENTS)
