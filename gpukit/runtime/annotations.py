"""Plain values read by annotations: a list as a tuple, text as a Path, a dictionary as a dataclass.

Strict where a person typed the value (the command line): what does not fit is an error. Lenient
where Python code passed it, since Python itself would not object either.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from gpukit.errors import UsageError, did_you_mean

__all__ = [
    "TEXT_TYPES", "annotations_of", "convert", "describe", "fields_of", "is_enum", "plain_function",
    "strip",
]  # fmt: skip

_SHOWN = 80  # characters of a wrong value in an error
_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
TEXT_TYPES: dict[type, Callable[[str], Any]] = {
    pathlib.Path: pathlib.Path,
    pathlib.PurePosixPath: pathlib.PurePosixPath,
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: uuid.UUID,
    datetime.datetime: datetime.datetime.fromisoformat,
    datetime.date: datetime.date.fromisoformat,
}
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    bytes: "bytes",
    pathlib.Path: "a path",
    datetime.datetime: "a time such as 2026-01-31T12:00:00",
    datetime.date: "a date such as 2026-01-31",
    types.NoneType: "null",
}


def plain_function(function: Any) -> Any:
    """Return the function inside a GpuJob and decorators that use ``functools.wraps``."""
    return inspect.unwrap(function)


def annotations_of(function: Any) -> dict[str, Any]:
    """Return the annotations of a function or class, resolved; what cannot be resolved is Any."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        return {k: _resolve(v, function) for k, v in _raw_annotations(function).items()}


def _raw_annotations(function: Any) -> dict[str, Any]:
    plain = plain_function(function) if not isinstance(function, type) else function
    return dict(getattr(plain, "__annotations__", {}))


def _resolve(annotation: Any, function: Any) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    names = getattr(plain_function(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]
    except Exception:
        return Any


def strip(hint: Any) -> Any:
    """Return the type inside ``Annotated``, ``NewType``, ``Final`` and the like."""
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif isinstance(hint, typing.TypeVar) or hint is inspect.Parameter.empty:
            return Any
        else:
            return hint


def describe(hint: Any) -> str:
    """Return the words for a type: ``a whole number``, ``one of red, green``."""
    hint = strip(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(str(a) for a in typing.get_args(hint))
    if typing.get_origin(hint) in _UNIONS:
        return " or ".join(describe(a) for a in typing.get_args(hint))
    if is_enum(hint):
        return "one of " + ", ".join(hint.__members__)
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        return "…"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def is_enum(hint: Any) -> bool:
    """Tell whether the annotation is an Enum; ``list[int]`` passes for a class before 3.11."""
    return isinstance(hint, type) and not typing.get_args(hint) and issubclass(hint, enum.Enum)


def fields_of(kind: type) -> dict[str, Any]:
    """Return the fields that a dataclass is made of, with their resolved types."""
    hints = annotations_of(kind)
    return {f.name: hints.get(f.name, Any) for f in dataclasses.fields(kind) if f.init}


def convert(value: Any, hint: Any, where: str, *, strict: bool = True) -> Any:
    """Return ``value`` as the annotation says.

    Args:
        value: plain JSON, or a value that has its type already.
        hint: the annotation, resolved.
        where: the name of the argument, for errors.
        strict: refuse what does not fit; else it is returned as it is.

    Raises:
        UsageError: a field of a dataclass is unknown or missing; with ``strict``, anything that
            is not of the type.
    """
    return _Converter(strict).convert(value, hint, where)


class _Converter:
    def __init__(self, strict: bool) -> None:
        self._strict = strict

    def convert(self, value: Any, hint: Any, where: str) -> Any:
        hint = strip(hint)
        origin = typing.get_origin(hint)
        if origin in _UNIONS:
            return self._union(value, hint, where)
        if origin is typing.Literal:
            known = any(type(value) is type(a) and value == a for a in typing.get_args(hint))
            return value if known else self._mismatch(value, hint, where)
        if hint is None or hint is types.NoneType:
            return value if value is None else self._mismatch(value, hint, where)
        if typing.is_typeddict(hint):
            return self._typed_dict(value, hint, where)
        kind = origin or hint
        if not isinstance(kind, type) or kind is object:
            return value
        if kind is tuple or kind in _LISTS or kind in _SETS or kind in _MAPPINGS:
            return self._container(value, kind, typing.get_args(hint), where, hint)
        return self._plain(value, kind, where)

    def _mismatch(self, value: Any, hint: Any, where: str) -> Any:
        if not self._strict:
            return value
        members = (
            list(hint.__members__)
            if is_enum(hint)
            else [a for a in typing.get_args(hint) if isinstance(a, str)]
        )
        meant = did_you_mean(value, members) if isinstance(value, str) and members else ""
        raise UsageError(
            "argument-type", f"{where}={_shown(value)} is not {describe(hint)}",
            meant or f"give {describe(hint)}",
        )  # fmt: skip

    def _union(self, value: Any, hint: Any, where: str) -> Any:
        members = typing.get_args(hint)
        strict = _Converter(True)
        fitting = []
        for member in members:
            try:
                fitting.append(strict.convert(value, member, where))
            except UsageError:
                continue
        for converted in fitting:  # a member that takes it as it is goes before one that changes it
            if type(converted) is type(value):
                return converted
        if fitting:
            return fitting[0]
        classes = [m for m in members if dataclasses.is_dataclass(strip(m))]
        if isinstance(value, dict) and len(classes) == 1:  # say what is wrong with its fields
            return self.convert(value, classes[0], where)
        return self._mismatch(value, hint, where)

    def _plain(self, value: Any, kind: Any, where: str) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        if kind is int and type(value) is bool:
            return self._mismatch(value, kind, where)
        if isinstance(value, dict) and dataclasses.is_dataclass(kind):
            return self._dataclass(value, kind, where)
        if isinstance(value, dict) and hasattr(kind, "model_validate"):
            return self._model(value, kind, where)
        if isinstance(value, list) and hasattr(kind, "_fields"):
            return kind(*value) if len(value) == len(kind._fields) else value
        if issubclass(kind, enum.Enum) and not isinstance(value, kind):
            return self._enum(value, kind, where)
        if isinstance(value, str) and kind in TEXT_TYPES:
            try:
                return TEXT_TYPES[kind](value)
            except (ValueError, ArithmeticError):
                return self._mismatch(value, kind, where)
        try:
            return value if isinstance(value, kind) else self._mismatch(value, kind, where)
        except TypeError:  # a Protocol that cannot be checked
            return value

    def _enum(self, value: Any, kind: type[enum.Enum], where: str) -> Any:
        if isinstance(value, str) and value in kind.__members__:
            return kind[value]
        try:
            return kind(value)
        except ValueError:
            return self._mismatch(value, kind, where)

    def _dataclass(self, value: Mapping[str, Any], kind: Any, where: str) -> Any:
        fields = fields_of(kind)
        for name in value:
            if name not in fields:
                raise UsageError(
                    "field-unknown", f"{where}: {kind.__name__} has no field {name!r}",
                    did_you_mean(str(name), fields, otherwise=f"it has: {', '.join(fields)}"),
                )  # fmt: skip
        given = {k: self.convert(v, fields[k], f"{where}.{k}") for k, v in value.items()}
        try:
            return kind(**given)
        except (TypeError, ValueError) as error:
            raise UsageError(
                "field-missing" if isinstance(error, TypeError) else "field-value",
                f"{where}: {kind.__name__} cannot be made: {error}",
                f"its fields are: {', '.join(fields)}",
            ) from error

    def _model(self, value: Mapping[str, Any], kind: Any, where: str) -> Any:
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise UsageError(
                "field-value", f"{where}: {kind.__name__} cannot be made: {error}",
                f"its fields are: {', '.join(kind.model_fields)}",
            ) from error  # fmt: skip

    def _typed_dict(self, value: Any, hint: Any, where: str) -> Any:
        if not isinstance(value, dict):
            return self._mismatch(value, hint, where)
        hints = annotations_of(hint)
        return {k: self.convert(v, hints.get(k, Any), f"{where}[{k!r}]") for k, v in value.items()}

    def _container(self, value: Any, kind: Any, args: Any, where: str, hint: Any) -> Any:
        if kind in _MAPPINGS:
            if type(value) is not dict:
                return value if isinstance(value, kind) else self._mismatch(value, hint, where)
            key, item = args if len(args) == 2 else (Any, Any)
            return {
                self._key(k, key, where): self.convert(v, item, f"{where}[{k!r}]")
                for k, v in value.items()
            }
        if type(value) not in (list, tuple, set, frozenset):
            fits = isinstance(value, kind) and not isinstance(value, str | bytes)
            return value if fits else self._mismatch(value, hint, where)
        made = _made_of(type(value), kind)
        if made is None:
            return self._mismatch(value, hint, where)
        items = self._item_hints(kind, args, len(value))
        if items is None:
            return self._mismatch(value, hint, where)
        return made(
            self.convert(v, h, f"{where}[{i}]")
            for i, (v, h) in enumerate(zip(value, items, strict=True))
        )

    @staticmethod
    def _item_hints(kind: Any, args: Any, length: int) -> list[Any] | None:
        if kind is not tuple or not args or (len(args) == 2 and args[1] is Ellipsis):
            return [args[0] if args else Any] * length
        fixed = [] if args == ((),) else list(args)
        return fixed if len(fixed) == length else None

    def _key(self, key: Any, hint: Any, where: str) -> Any:
        """Convert a key; those of JSON are always text."""
        if isinstance(key, str) and strip(hint) in (int, float):
            try:
                return strip(hint)(key)
            except ValueError:
                pass
        return self.convert(key, hint, f"{where} (key {key!r})")


def _made_of(given: type, wanted: Any) -> Any:
    """Return the class to make of a ``given`` container where ``wanted`` is annotated."""
    if wanted is tuple:
        return tuple if given in (list, tuple) else None
    if wanted in _SETS:
        target = frozenset if wanted is frozenset else set
        return given if given in (set, frozenset) and issubclass(given, wanted) else target
    return given if wanted is not list or given is list else None
