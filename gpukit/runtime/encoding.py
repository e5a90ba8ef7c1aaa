"""Values as JSON and back, exactly: what an argument was on the one side, it is on the other.

JSON's own types stand for themselves. All else is tagged: a dictionary with one key that begins
with ``$``, for example ``{"$path": "/data"}``. So nothing has to be guessed when it is read, and no
pickle is needed. Standard library only: the same code runs in the pod.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, TypeAlias, Union

from gpukit.errors import UsageError

__all__ = ["JSON", "decode_value", "encode_value"]

JSON: TypeAlias = Union[bool, int, float, str, "list[JSON]", "dict[str, JSON]", None]

_LONG_INT_BITS = 10_000  # Python refuses to read decimal numbers of more than 4300 digits


def encode_value(value: object, where: str, home: str = "") -> JSON:
    """Return ``value`` as JSON from which :func:`decode_value` makes an equal value.

    Args:
        value: JSON types, tuples, sets, bytes, paths, dates and times, ``Decimal``, ``UUID``,
            enums, dataclasses, named tuples and pydantic models, nested in any way.
        where: the name of the argument, for errors.
        home: the module of the job; its classes are named relative to it.

    Raises:
        UsageError: something in it cannot be shipped; the message has its path and its type.
    """
    return _Encoder(home).encode(value, where)


class _Encoder:
    def __init__(self, home: str) -> None:
        self._home = home
        self._open: list[int] = []  # containers being encoded, to find those inside themselves

    def encode(self, value: object, where: str) -> JSON:
        simple = _SIMPLE.get(type(value))
        if simple is not None:
            return simple(value, where)
        if isinstance(value, enum.Enum):
            return self._enum(value, where)
        if isinstance(value, pathlib.PurePath):
            return _path(value, where)
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            return self.encode(value.item(), where)  # type: ignore[attr-defined]
        if id(value) in self._open:
            raise _refusal(where, value, "it contains itself", "pass it without the cycle")
        self._open.append(id(value))
        try:
            return self._container(value, where)
        finally:
            self._open.pop()

    def _container(self, value: Any, where: str) -> JSON:
        kind = type(value)
        if kind is list:
            return self._items(value, where)
        if kind is tuple:
            return {"$tuple": self._items(value, where)}
        if kind in (set, frozenset):
            items = self._items(value, where)
            return {f"${kind.__name__}": sorted(items, key=lambda i: json.dumps(i, sort_keys=True))}
        if kind is dict:
            return self._dict(value, where)
        if dataclasses.is_dataclass(kind):
            fields = self._fields(value, where)
            return {"$dataclass": [self._name(kind, value, where), fields]}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {"$namedtuple": [self._name(kind, value, where), self._items(value, where)]}
        if hasattr(kind, "model_validate") and hasattr(kind, "model_dump"):
            return {"$model": [self._name(kind, value, where), self._model(value, where)]}
        raise _refusal(where, value, *_advice(value))

    def _model(self, value: Any, where: str) -> JSON:
        try:
            dumped: JSON = value.model_dump(mode="json")
        except Exception as error:
            raise _refusal(where, value, str(error), "give its fields types of JSON") from error
        return self.encode(dumped, where)

    def _items(self, values: Any, where: str) -> list[JSON]:
        return [self.encode(item, f"{where}[{i}]") for i, item in enumerate(values)]

    def _fields(self, value: Any, where: str) -> dict[str, JSON]:
        """Encode the fields a dataclass is made of; the others it computes itself."""
        names = [f.name for f in dataclasses.fields(value) if f.init]
        return {n: self.encode(getattr(value, n, None), f"{where}.{n}") for n in names}

    def _dict(self, value: dict[Any, Any], where: str) -> JSON:
        """Encode a dictionary; one in another order than the sorted one keeps its order."""
        keys = list(value)
        plain = all(type(k) is str and _is_text(k) and not k.startswith("$") for k in keys)
        if plain and keys == sorted(keys):
            return {k: self.encode(v, f"{where}[{k!r}]") for k, v in value.items()}
        return {
            "$dict": [
                [self.encode(k, f"{where} (key {k!r})"), self.encode(v, f"{where}[{k!r}]")]
                for k, v in value.items()
            ]
        }

    def _enum(self, value: enum.Enum, where: str) -> JSON:
        name = self._name(type(value), value, where)
        if isinstance(value, enum.Flag):
            return {"$flag": [name, value.value]}
        return {"$enum": [name, value.name]}

    def _name(self, kind: type, value: object, where: str) -> str:
        """Return ``module:Class``; the module is left out where it is the job's own."""
        if _lookup(sys.modules.get(kind.__module__), kind.__qualname__) is not kind:
            raise _refusal(
                where, value, "its class cannot be imported",
                f"define {kind.__name__} at the top level of the job file, or of a module it uses",
            )  # fmt: skip
        if kind.__module__ == self._home:
            return f":{kind.__qualname__}"
        if kind.__module__ == "__main__":
            raise _refusal(
                where, value, "its class belongs to the script that is running",
                f"define {kind.__name__} in the job file, or in a module that it imports",
            )  # fmt: skip
        return f"{kind.__module__}:{kind.__qualname__}"


def _is_text(value: str) -> bool:
    """Tell whether the text can be written as UTF-8 (a lone surrogate cannot)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any, _: str) -> JSON:
    return value if _is_text(value) else {"$text": _base64(value.encode("utf-8", "surrogatepass"))}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _int(value: Any, _: str) -> JSON:
    return value if value.bit_length() <= _LONG_INT_BITS else {"$int": hex(value)}


def _float(value: Any, _: str) -> JSON:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _path(value: pathlib.PurePath, where: str) -> JSON:
    if isinstance(value, pathlib.PureWindowsPath) and not isinstance(value, pathlib.Path):
        raise _refusal(where, value, "pods run Linux", "pass a PurePosixPath")
    tag = "$path" if isinstance(value, pathlib.Path) else "$purepath"
    return {tag: _text(value.as_posix(), where)}


def _datetime(value: Any, where: str) -> JSON:
    zone = value.tzinfo
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return {"$datetime": [value.replace(tzinfo=None).isoformat(), zone.key, value.fold]}
    if zone is None or isinstance(zone, datetime.timezone):
        return {"$datetime": [value.isoformat(), None, value.fold]}
    raise _refusal(
        where, value, "its time zone is of a class of its own", "use datetime.timezone or zoneinfo"
    )


_SIMPLE: dict[type, Callable[[Any, str], JSON]] = {
    type(None): lambda v, _: v,
    bool: lambda v, _: v,
    int: _int,
    float: _float,
    str: _text,
    bytes: lambda v, _: {"$bytes": _base64(v)},
    decimal.Decimal: lambda v, _: {"$decimal": str(v)},
    uuid.UUID: lambda v, _: {"$uuid": str(v)},
    datetime.datetime: _datetime,
    datetime.date: lambda v, _: {"$date": v.isoformat()},
    datetime.timedelta: lambda v, _: {"$timedelta": [v.days, v.seconds, v.microseconds]},
}


def _refusal(where: str, value: object, why: str, hint: str) -> UsageError:
    kind = type(value)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return UsageError(
        "argument-unshippable",
        f"{where} of type {prefix}{kind.__qualname__} cannot be shipped: {why}",
        hint,
    )


def _advice(value: object) -> tuple[str, str]:
    if callable(value) and hasattr(value, "__qualname__"):
        return "functions and classes are not data", "pass its name as text and look it up inside"
    if hasattr(value, "state_dict") or hasattr(value, "__array__"):
        return (
            "arrays, tensors and models are not shipped as arguments",
            "build or load it inside the function; pass a path, a name or numbers",
        )
    return (
        "it has no form in JSON",
        "pass JSON types, a dataclass, an Enum, a Path, a date or a Decimal, or build it inside "
        "the function",
    )


def _lookup(module: object, qualname: str) -> object:
    found = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def decode_value(value: JSON, where: str, home: dict[str, Any] | None = None) -> Any:
    """Return the value that :func:`encode_value` was given.

    Args:
        value: JSON made by :func:`encode_value`.
        where: the name of the argument, for errors.
        home: the globals of the job's module.

    Raises:
        UsageError: a tag that is not known, or a class that cannot be found or built.
    """
    return _Decoder(home or {}).decode(value, where)


class _Decoder:
    def __init__(self, home: dict[str, Any]) -> None:
        self._home = home

    def decode(self, value: JSON, where: str) -> Any:
        if isinstance(value, list):
            return [self.decode(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        tag = next(iter(value), "")
        if len(value) != 1 or not tag.startswith("$"):
            return {k: self.decode(v, f"{where}[{k!r}]") for k, v in value.items()}
        try:
            if tag in _UNTAG:
                return _UNTAG[tag](self.decode(value[tag], where))
            return self._object(tag, value[tag], where)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                "argument-rebuild",
                f"{where} cannot be rebuilt: {type(error).__name__}: {error}",
                "a class that is an argument must accept its own fields when it is made; "
                "or pass plain values",
            ) from error

    def _object(self, tag: str, content: Any, where: str) -> Any:
        if tag not in ("$dataclass", "$namedtuple", "$model", "$enum", "$flag"):
            raise UsageError(
                "argument-tag", f"{where}: the tag {tag!r} is not known to this gpukit",
                "submit again with the gpukit that is installed here",
            )  # fmt: skip
        kind = self._class(content[0], where)
        if tag == "$enum":
            return kind[content[1]]
        if tag == "$flag":
            return kind(content[1])
        if tag == "$model":
            return kind.model_validate(self.decode(content[1], where))
        if tag == "$namedtuple":
            return kind(*self.decode(content[1], where))
        return kind(**{k: self.decode(v, f"{where}.{k}") for k, v in content[1].items()})

    def _class(self, name: str, where: str) -> Any:
        module, _, qualname = name.partition(":")
        try:
            if module:
                __import__(module)
                found = _lookup(sys.modules[module], qualname)
            else:
                first, *rest = qualname.split(".")
                found = self._home.get(first)
                found = _lookup(found, ".".join(rest)) if rest else found
        except ImportError as error:
            raise UsageError(
                "argument-class", f"{where}: its class is in module {module!r}: {error}",
                "import that module in the job file, so that it is shipped",
            ) from error  # fmt: skip
        if found is None:
            raise UsageError(
                "argument-class",
                f"{where}: there is no class {qualname!r} in {module or 'the job'}",
                "submit again: the code has changed since the arguments were made",
            )
        return found


def _read_datetime(content: list[Any]) -> datetime.datetime:
    text, zone, fold = content
    value = datetime.datetime.fromisoformat(text).replace(fold=fold)
    return value if zone is None else value.replace(tzinfo=zoneinfo.ZoneInfo(zone))


_UNTAG: dict[str, Callable[[Any], Any]] = {
    "$text": lambda v: base64.b64decode(v).decode("utf-8", "surrogatepass"),
    "$bytes": base64.b64decode,
    "$int": lambda v: int(v, 16),
    "$float": float,
    "$path": pathlib.Path,
    "$purepath": pathlib.PurePosixPath,
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
    "$datetime": _read_datetime,
    "$date": datetime.date.fromisoformat,
    "$timedelta": lambda v: datetime.timedelta(*v),
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": dict,
}
