"""Times as the API server writes them, and spans of time for a person."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["seconds_of", "span"]


def seconds_of(text: object) -> float | None:
    """Return the unix seconds of a time such as ``2026-11-23T10:00:00.123456Z``; None for none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()


def span(seconds: float) -> str:
    """Return ``40 s``, ``12 min``, ``3 h`` or ``2 d``: rounded, for a sentence."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
