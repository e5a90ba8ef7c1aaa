"""Rows of a price list as they are found, and what is wrong with a single one.

Price data is dirty: each check here is for something that was seen in a real list. What cannot be
right becomes unknown, never 0 and never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Literal

from .models import Catalog, Gpu

__all__ = ["COUNTS", "PLAUSIBLE", "Finding", "Row", "clean_row", "read_amount"]

COUNTS = (1, 2, 4, 8, 16)
"""How many GPUs machines have."""

PLAUSIBLE = (Decimal("0.02"), Decimal(60))
"""US dollars of one GPU and hour, from the oldest on spot to the newest on demand."""

_MEMORY_RANGE = (0.85, 1.15)


@dataclass(frozen=True)
class Finding:
    """Something that is odd about a price list.

    Attributes:
        id: stable name of the kind of oddity.
        where: line or machine.
        message: what is odd.
        effect: the row was left out, a value of it became unknown or was corrected, or it counts
            as it is.
    """

    id: str
    where: str
    message: str
    effect: Literal["left out", "unknown", "corrected", "kept"]

    def __str__(self) -> str:
        return f"{self.where}: {self.message} ({self.effect})"


@dataclass(frozen=True)
class Row:
    """One row of a price list, in its own words.

    Attributes:
        where: line and machine, for a person.
        gpu: the GPU as the list names it.
        cloud: whose.
        sku: machine type.
        gpus: how many GPUs.
        region: where.
        price: US dollars per hour of the machine; None: the list has none.
        spot: the same on spot.
        per_gpu: the prices are of one GPU, not of the machine.
        memory_mib: memory of a GPU, if the list says.
        as_of: when.
    """

    where: str
    gpu: str
    cloud: str
    sku: str
    gpus: Decimal
    region: str
    price: Decimal | None
    spot: Decimal | None
    as_of: date
    per_gpu: bool = False
    memory_mib: Decimal | None = None

    def of_gpu(self, amount: Decimal) -> Decimal:
        """Return an amount of the row per GPU."""
        return amount if self.per_gpu else amount / self.gpus


def read_amount(text: str | None) -> Decimal | None:
    """Return a number of a list; None where there is none."""
    try:
        amount = Decimal((text or "").strip().removeprefix("$"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def clean_row(row: Row, catalog: Catalog) -> tuple[Row | None, list[Finding]]:
    """Return the row as far as it can be believed, and what was wrong with it."""
    findings: list[Finding] = []

    def note(
        id: str, message: str, effect: Literal["left out", "unknown", "corrected", "kept"]
    ) -> None:
        findings.append(Finding(id, row.where, message, effect))

    gpu = catalog.gpu_of(row.gpu)
    if gpu is None:
        note("accelerator-unknown", f"{row.gpu} is not in the catalog", "left out")
        return None, findings
    known = next((m for m in catalog.machines if m.name == row.sku), None)
    if known is not None and known.gpus != row.gpus:
        note("gpu-count", f"{row.gpus} GPUs; a {row.sku} has {known.gpus}", "corrected")
        row = replace(row, gpus=Decimal(known.gpus))
    elif row.gpus not in COUNTS:
        note("gpu-count", f"{row.gpus} GPUs, and machines have 1, 2, 4, 8 or 16", "left out")
        return None, findings
    if row.price is None:
        note("price-missing", "no price on demand", "unknown")
    for id, message in _implausible(row, "price", row.price):
        note(id, message, "unknown")
        row = replace(row, price=None)
    for id, message in _implausible(row, "spot", row.spot):
        note(id, message, "unknown")
        row = replace(row, spot=None)
    if row.price is not None and row.spot is not None and row.spot >= row.price:
        if row.spot > row.price:
            note(
                "spot-above-on-demand", f"spot {row.spot} is above on-demand {row.price}: one of "
                "them is wrong, and nothing says which", "left out",
            )  # fmt: skip
            return None, findings
        note("no-spot-signal", "spot equals on-demand, which says that there is none", "unknown")
        row = replace(row, spot=None)
    if message := _memory(row, gpu):
        note("memory-unit", message, "kept")
    return replace(row, gpu=gpu.name), findings


def _implausible(row: Row, what: str, amount: Decimal | None) -> Iterator[tuple[str, str]]:
    if amount is None:
        return
    if amount <= 0:
        yield "price-not-positive", f"{what} is {amount}; nothing is free"
    elif not PLAUSIBLE[0] <= row.of_gpu(amount) <= PLAUSIBLE[1]:
        shown = row.of_gpu(amount).quantize(Decimal("0.0001"))
        yield "price-implausible", f"{what} is {shown} per GPU and hour"


def _memory(row: Row, gpu: Gpu) -> str:
    if row.memory_mib is None:
        return ""
    low, high = (int(gpu.memory_gb * 1024 * share) for share in _MEMORY_RANGE)
    if low <= row.memory_mib <= high:
        return ""
    guess = ", which looks like GB" if 0 < row.memory_mib < 1000 else ""
    return f"SizeInMiB is {row.memory_mib}{guess}; {gpu.name} has {gpu.memory_gb} GB"
