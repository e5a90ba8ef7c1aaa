"""List prices, and what a pod costs per hour by them. Unknown stays unknown, never 0."""

from __future__ import annotations

from collections.abc import Iterable
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
        spot_gpu_hour: lowest and highest spot price of one GPU that was seen.
        source: where the price was read.
        as_of: when.
        spot_source: where the spot price was read, if elsewhere.
        spot_as_of: when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: str
    cloud: str
    sku: str
    gpus: int = Field(gt=0, le=16)
    region: str
    instance_hour: Amount | None = None
    spot_gpu_hour: tuple[Amount, Amount] | None = None
    source: str
    as_of: date
    spot_source: str | None = None
    spot_as_of: date | None = None

    @property
    def on_demand_gpu_hour(self) -> Decimal | None:
        """US dollars per GPU and hour on demand: the machine's price over its GPUs."""
        return None if self.instance_hour is None else self.instance_hour / self.gpus


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
) -> PodPrice:
    """Return what ``count`` GPUs, or a share of one, cost per hour in a region.

    The smallest machine with enough GPUs sets the price: one GPU of a machine of eight is often
    not to be had, and machines of one GPU cost more on spot.
    """
    here = [p for p in prices if (p.gpu, p.cloud, p.region) == (gpu, cloud, region)]
    fitting = [p for p in here if p.gpus >= count] or here
    if not fitting:
        return PodPrice(None, None, f"no price of {gpu} on {cloud} in {region} is known")
    price = min(fitting, key=lambda p: p.gpus)
    part = share * count
    spot = price.spot_gpu_hour[1] if price.spot_gpu_hour else None
    name = cloud.upper() if len(cloud) <= 3 else cloud.title()
    return PodPrice(
        on_demand=_times(price.on_demand_gpu_hour, part),
        spot=_times(spot, part),
        source=f"{name} {price.sku} in {region} ({price.source})",
        as_of=min(price.as_of, price.spot_as_of or price.as_of),
    )


def _times(price: Decimal | None, part: Fraction) -> Decimal | None:
    if price is None:
        return None
    return (price * part.numerator / part.denominator).quantize(_CENTS)
