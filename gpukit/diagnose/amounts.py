"""Amounts of resources as the API server writes them, in exact integers.

CPU in millicores, everything else in its own unit (bytes, pods, devices); fractions are rounded up,
as the scheduler does (k8s.io/apimachinery, Quantity.MilliValue and Quantity.Value).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from gpukit.quantity import format_bytes, format_cpu

__all__ = ["amount", "amounts", "show"]

_SUFFIX = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_FORM = re.compile(r"([+-]?[0-9]*\.?[0-9]+\.?)(?:[eE]([+-]?[0-9]+)|([numkMGTPE]i?|Ki)?)")
_IN_BYTES = ("memory", "storage", "hugepages")


def amount(resource: str, text: object) -> int:
    """Return an amount of a resource: millicores of CPU, whole units of all others.

    What is not a quantity is 0: the API server has checked it, so this is no input of a person.
    """
    found = _FORM.fullmatch(str(text).strip())
    if found is None:
        return 0
    number, exponent, suffix = found.groups()
    value = Decimal(number.rstrip(".") or "0") * _SUFFIX.get(suffix or "", Decimal(1))
    if exponent:
        value = value.scaleb(int(exponent))
    if resource.rpartition(".")[2] == "cpu":  # cpu, requests.cpu
        value *= 1000
    return int(value.to_integral_value(ROUND_CEILING))


def amounts(resources: Mapping[str, object] | None) -> dict[str, int]:
    """Return the amounts of a resource list."""
    return {name: amount(name, text) for name, text in (resources or {}).items()}


def show(resource: str, count: int) -> str:
    """Return an amount for a person, and for Kubernetes: ``7500m``, ``57.6Gi``, ``8``."""
    name = resource.rpartition(".")[2]
    if name == "cpu":
        return format_cpu(count)
    if not any(word in name for word in _IN_BYTES):
        return str(count)
    if count >= 2**30 and count % 2**30:  # no person reads 61841235968
        return f"{Decimal(count) / 2**30:.1f}Gi"
    return format_bytes(count)
