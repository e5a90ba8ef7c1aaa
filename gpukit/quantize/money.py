"""What a person says about money."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Money"]


@dataclass(frozen=True)
class Money:
    """What the cost is worked out from; without a price there is none.

    Args:
        price_per_hour: of what serves one stream, in any currency.
        requests_per_second: to be served; gives replicas and a price per month.
        utilisation: part of its time that a replica may be busy.
        tokens: tokens of an example; None counts those of ``attention_mask`` or ``input_ids``.
        engineering: what the work on the optimization costs, for the break-even.
    """

    price_per_hour: Decimal | None = None
    requests_per_second: float | None = None
    utilisation: float = 0.7
    tokens: float | None = None
    engineering: Decimal | None = None
