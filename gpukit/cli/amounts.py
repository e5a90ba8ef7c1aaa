"""How amounts are written for a person."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["duration", "memory", "money", "number", "short_duration", "size"]


def size(count: int) -> str:
    """Return ``82 KiB`` for a number of bytes."""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 10 else f"{value:.1f} {units[0]}"


def memory(count: int | None, *, seen: bool) -> str:
    """Return ``9.6 GiB`` for what a job finds on a device, ``~9.6 GiB`` where it is assumed."""
    return "-" if count is None else ("" if seen else "~") + size(count)


def duration(seconds: float | None) -> str:
    """Return ``0.4 s``, ``12 s``, ``3 min 20 s`` or ``2 h 05 min``; ``-`` for None."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short_duration(seconds: float | None) -> str:
    """Return ``7 ms`` below a tenth of a second, else as :func:`duration`."""
    if seconds is not None and 0 <= seconds < 0.0995:
        return f"{1000 * seconds:.0f} ms"
    return duration(seconds)


def money(amount: Decimal | None) -> str:
    """Return ``$12.40``, with more digits below a dollar; ``unknown`` for None."""
    if amount is None:
        return "unknown"
    if amount >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.3f}" if amount >= Decimal("0.01") else f"${amount:.5f}"


def number(value: object) -> str:
    """Return a metric as a person reads it: ``0.3127``, ``1.2e-05``, ``12``."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
