"""What a function returned, as JSON that every reader can read. Never fails."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

__all__ = ["finite", "to_json"]

_DEPTH = 50
_AS_TEXT = (str, Path, Decimal, datetime.date, datetime.timedelta, uuid.UUID)


def to_json(value: object, unknown: Callable[[str], None]) -> Any:
    """Return ``value`` as JSON.

    Tensors and arrays of one number become that number, NaN and infinities the strings
    ``"nan"``, ``"inf"``, ``"-inf"``; what has no JSON becomes ``{"repr": …}``.

    Args:
        value: any object.
        unknown: called with a description of each part that has no JSON.
    """
    return _convert(value, unknown, "the return value", 0)


def finite(value: Any) -> Any:
    """Return JSON with NaN and infinities as strings, since JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _convert(value: Any, unknown: Callable[[str], None], where: str, depth: int) -> Any:
    if depth > _DEPTH:
        return _represent(value, unknown, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return finite(float(value))
    parts = _parts(value)
    if isinstance(parts, dict):
        return {
            str(k): _convert(v, unknown, f"{where}[{k!r}]", depth + 1) for k, v in parts.items()
        }
    if parts is not None:
        return [_convert(v, unknown, f"{where}[{i}]", depth + 1) for i, v in enumerate(parts)]
    number = _one_number(value)
    return _represent(value, unknown, where) if number is None else finite(number)


def _parts(value: Any) -> dict[Any, Any] | list[Any] | None:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _one_number(value: Any) -> bool | int | float | None:
    """Return the number in a 0-dimensional tensor or array of any library."""
    if getattr(value, "ndim", None) != 0 or not callable(getattr(value, "item", None)):
        return None
    try:
        number = value.item()
    except Exception:  # another library's object: whatever it raises, it is no number
        return None
    return number if isinstance(number, (bool, int, float)) else None


def _represent(value: object, unknown: Callable[[str], None], where: str) -> dict[str, str]:
    unknown(f"{where} is a {type(value).__qualname__}, which has no JSON; its repr is kept")
    try:
        return {"repr": repr(value)[:1000]}
    except Exception as error:  # a repr of the user's own may raise anything
        return {"repr": f"<{type(value).__qualname__}: no repr: {type(error).__name__}>"}
