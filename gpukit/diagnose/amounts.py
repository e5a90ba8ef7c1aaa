"""Amounts of resources as the API server writes them, in exact integers.

CPU in millicores, everything else in its own unit (bytes, pods, devices); fractions are rounded up,
as the scheduler does (k8s.io/apimachinery, Quantity.MilliValue and Quantity.Value).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from gpukit.errors import SpecError
from gpukit.quantity import format_bytes, format_cpu, parse_quantity

__all__ = ["amount", "amounts", "exact", "show"]

_IN_BYTES = ("memory", "storage", "hugepages")


def amount(resource: str, text: object) -> int:
    """Return an amount of a resource: millicores of CPU, whole units of all others.

    What is not a quantity is 0: the API server has checked it, so this is no input of a person.
    """
    try:
        value = parse_quantity(text)
    except SpecError:
        return 0
    if resource.rpartition(".")[2] == "cpu":  # cpu, requests.cpu
        value *= 1000
    return int(value.to_integral_value(ROUND_CEILING))


def amounts(resources: Mapping[str, object] | None) -> dict[str, int]:
    """Return the amounts of a resource list."""
    return {name: amount(name, text) for name, text in (resources or {}).items()}


def show(resource: str, count: int) -> str:
    """Return an amount for a person: ``7500m``, ``57.6Gi``, ``8``."""
    is_bytes = any(word in resource.rpartition(".")[2] for word in _IN_BYTES)
    if is_bytes and count >= 2**30 and count % 2**30:  # no person reads 61841235968
        return f"{Decimal(count) / 2**30:.1f}Gi"
    return exact(resource, count)


def exact(resource: str, count: int) -> str:
    """Return an amount for an option or for Kubernetes, to the last byte."""
    name = resource.rpartition(".")[2]
    if name == "cpu":
        return format_cpu(count)
    return format_bytes(count) if any(word in name for word in _IN_BYTES) else str(count)
