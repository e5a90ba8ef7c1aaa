"""The cheapest of several alternatives first."""

from __future__ import annotations

from dataclasses import replace

from gpukit.catalog import Catalog, Devices, Platform, devices_price
from gpukit.quantity import format_money
from gpukit.spec import JobSpec

from .devices import choosing_terms
from .machines import by_name
from .model import NodeTerm, Notes

__all__ = ["cheapest_first"]

_PREFERENCE = 50
"""Weight of the cheapest GPU: half of that of spot capacity, which saves more."""


def cheapest_first(
    spec: JobSpec, devices: Devices, catalog: Catalog, platform: Platform, notes: Notes
) -> tuple[NodeTerm, ...]:
    """Return the preferences by which the cheaper GPUs of a list come first.

    Preferences weigh nodes that are there; what an autoscaler starts is its own choice (Karpenter
    and Auto Mode take the cheapest by themselves).
    """
    if len(spec.profile) < 2 or len(devices.gpus) < 2:
        return ()
    prices = {}
    for gpu in devices.gpus:
        quote = devices_price(replace(devices, gpus=(gpu,)), catalog, platform)
        prices[gpu.name] = quote.spot if spec.spot is True else quote.on_demand
    unknown = [name for name, price in prices.items() if price is None]
    if unknown:
        notes.because("order", "none", f"the price of {', '.join(unknown)} is unknown")
        return ()
    ranked = sorted((price, name) for name, price in prices.items() if price is not None)
    notes.because(
        "order", ", ".join(name for _, name in ranked), "cheapest first, as a preference: "
        + ", ".join(f"{name} {format_money(price)}/h" for price, name in ranked),
    )  # fmt: skip
    step = _PREFERENCE // len(ranked)
    weights = {name: _PREFERENCE - rank * step for rank, (_, name) in enumerate(ranked)}
    cheaper = [gpu for gpu in devices.gpus if gpu.name != ranked[-1][1]]
    return tuple(
        _choosing(replace(devices, gpus=(gpu,)), catalog, platform).model_copy(
            update={"weight": weights[gpu.name]}
        )
        for gpu in cheaper
    )


def _choosing(devices: Devices, catalog: Catalog, platform: Platform) -> NodeTerm:
    """Return the one condition that chooses the GPU: a preference is a single one."""
    terms, machines = choosing_terms(devices, catalog, platform)
    return terms[0] if len(terms) == 1 else by_name(machines)
