"""Quantities as people write them: ``"10Gi"``, ``"500m"``, ``"1h30m"``, ``"$40"``.

Parsing is exact (integers and Decimal, never float) and formatting gives back the shortest
text that Kubernetes, or a person, reads as the same value.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from .errors import SpecError

__all__ = [
    "format_bytes",
    "format_cpu",
    "format_duration",
    "format_money",
    "parse_bytes",
    "parse_cpu",
    "parse_duration",
    "parse_money",
    "parse_quantity",
]

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)")
_SUFFIXES = {
    **{suffix: Decimal(factor) for suffix, factor in {**_BINARY, **_DECIMAL}.items()},
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "E": Decimal(10**18), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")
_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_MOST_MONEY = Decimal(10**9)
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_bytes(value: str | int, what: str = "memory") -> int:
    """Return the bytes of a Kubernetes memory quantity such as ``"10Gi"`` or ``"500M"``.

    Args:
        value: text with a unit of Kubernetes, or a whole number of bytes.
        what: the name of the option, for the error.

    Raises:
        SpecError: unknown unit, negative, fractional bytes, or not a quantity at all.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise SpecError(
            "quantity-memory", f"{what}={value!r} is not an amount of memory", 'write "16Gi"'
        )
    number, unit = match.groups()
    factor = _BINARY.get(unit) or _DECIMAL.get(unit)
    if factor is None:
        raise SpecError(
            "quantity-memory-unit",
            f"{what}={value!r}: {unit!r} is not a unit of Kubernetes",
            f"did you mean {number + _nearest_unit(unit)!r}? "
            "Binary units are Ki, Mi, Gi, Ti; decimal ones k, M, G, T",
        )
    exact = Decimal(number) * factor
    if exact != exact.to_integral_value() or exact <= 0:
        raise SpecError(
            "quantity-memory", f"{what}={value!r} is not a positive whole number of bytes",
            'write "16Gi"',
        )  # fmt: skip
    return int(exact)


def _nearest_unit(unit: str) -> str:
    first = unit[:1].upper()
    return f"{first}i" if f"{first}i" in _BINARY else "Gi"


def parse_quantity(value: object, what: str = "quantity") -> Decimal:
    """Return any quantity of Kubernetes, exact: ``"500m"``, ``"1e3"``, ``"1.5Gi"``, ``8``.

    Raises:
        SpecError: not a quantity, or below 0.
    """
    match = _QUANTITY.fullmatch(str(value).strip())
    if match is None:
        raise SpecError(
            "quantity-form", f"{what}={value!r} is not an amount that Kubernetes reads",
            'write for example "2", "500m", "16Gi" or "200G"',
        )  # fmt: skip
    number, exponent, suffix = match.groups()
    amount = Decimal(number) * (_SUFFIXES[suffix] if suffix else 1)
    return amount.scaleb(int(exponent)) if exponent else amount


def format_bytes(value: int) -> str:
    """Return the shortest Kubernetes quantity that means exactly ``value`` bytes."""
    for unit, factor in reversed(_BINARY.items()):
        if value % factor == 0 and value:
            return f"{value // factor}{unit}"
    return str(value)


def parse_cpu(value: str | int | float, what: str = "cpu") -> int:
    """Return the millicores of ``"500m"``, ``"4"``, ``4`` or ``0.5``.

    Raises:
        SpecError: not a number of CPUs, zero, or finer than a millicore.
    """
    text = str(value).strip() if not isinstance(value, bool) else ""
    match = _CPU.fullmatch(text)
    milli = Decimal(match[1]) * (1 if match[2] else 1000) if match else Decimal(0)
    if milli <= 0 or milli != milli.to_integral_value():
        raise SpecError(
            "quantity-cpu", f"{what}={value!r} is not an amount of CPU",
            'write whole or fractional cores (4, "0.5") or millicores ("500m")',
        )  # fmt: skip
    return int(milli)


def format_cpu(millicores: int) -> str:
    """Return the Kubernetes quantity of a number of millicores."""
    return f"{millicores}m" if millicores % 1000 else str(millicores // 1000)


def parse_duration(value: str | int, what: str = "duration") -> int:
    """Return the seconds of ``"1h"``, ``"90m"``, ``"1h30m"``, ``"2d"`` or a whole number.

    Raises:
        SpecError: no unit that is known, a fraction, or a negative number.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) and value else None
    if match is None or not match.group():
        raise SpecError(
            "quantity-duration",
            f"{what}={value!r} is not a duration",
            'write days, hours, minutes and seconds as in "1h", "90m", "1d12h" or "45s"',
        )
    return sum(
        int(n) * s for n, s in zip(match.groups(), _SECONDS.values(), strict=True) if n is not None
    )


def format_duration(seconds: int) -> str:
    """Return the shortest text that :func:`parse_duration` reads as ``seconds``."""
    parts, rest = [], seconds
    for unit, size in _SECONDS.items():
        if rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts) or "0s"


def parse_money(value: str | int | Decimal, what: str = "max_cost") -> Decimal:
    """Return the US dollars of ``"$40"``, ``"40.50"`` or ``40``, exact.

    Raises:
        SpecError: not an amount, negative, or another currency.
    """
    text = str(value).strip().removeprefix("$").replace(",", "")
    try:
        amount = Decimal(text) if not isinstance(value, bool | float) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not Decimal("0.01") <= amount <= _MOST_MONEY:
        raise SpecError(
            "quantity-money", f"{what}={value!r} is not an amount of US dollars",
            'write "$40" or "40.50"',
        )  # fmt: skip
    return amount


def format_money(amount: Decimal) -> str:
    """Return ``$1,234.50``: cents, rounded half up."""
    return f"${amount.quantize(Decimal('0.01'), rounding='ROUND_HALF_UP'):,}"
