"""Words of the command line as typed values, and types as words for its help."""

from __future__ import annotations

import collections.abc as abc
import contextlib
import dataclasses
import datetime
import enum
import inspect
import json
import pathlib
import types
import typing
from typing import Any

from gpukit.errors import SpecError, UsageError, did_you_mean
from gpukit.quantity import parse_duration
from gpukit.runtime.annotations import TEXT_TYPES, convert, describe, is_enum, strip

__all__ = ["default_words", "element_of", "metavar", "optional_of", "read_word"]

_UNIONS = (typing.Union, types.UnionType)
_LISTS = (list, tuple, set, frozenset, abc.Sequence, abc.Set, abc.Iterable, abc.Collection)
_BOOLS = dict.fromkeys(("true", "yes", "1"), True) | dict.fromkeys(("false", "no", "0"), False)
_NULL: dict[str, None] = dict.fromkeys(("none", "null"))
_METAVARS = {
    int: "INTEGER", float: "NUMBER", str: "TEXT", pathlib.Path: "PATH", Any: "VALUE",
    datetime.timedelta: "DURATION", datetime.datetime: "TIME", datetime.date: "DATE",
}  # fmt: skip


def optional_of(hint: Any) -> Any:
    """Return ``X`` of ``X | None``; any other type as it is."""
    hint = strip(hint)
    if typing.get_origin(hint) in _UNIONS:
        rest = [m for m in typing.get_args(hint) if m is not types.NoneType]
        if len(rest) == 1:
            return strip(rest[0])
    return hint


def element_of(hint: Any) -> Any:
    """Return the type of the elements of a list, tuple or set; None for what is not one.

    Tuples of fixed, different types and nested containers are None too: they are given as JSON.
    """
    kind, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind not in _LISTS:
        return None
    if not args:
        return Any
    element = optional_of(args[0])
    inner = typing.get_origin(element) or element
    if kind is tuple and len(args) > 1 and args[1] is not Ellipsis and len(set(args)) > 1:
        return None
    if inner in (*_LISTS, dict, abc.Mapping) or dataclasses.is_dataclass(inner):
        return None
    return args[0]


def metavar(hint: Any) -> str:
    """Return what the help shows for the value of a flag."""
    hint = optional_of(hint)
    element = element_of(hint)
    if element is not None:
        return f"{metavar(element)} ..."
    if typing.get_origin(hint) is typing.Literal:
        return f"[{'|'.join(str(a) for a in typing.get_args(hint))}]"
    if is_enum(hint):
        return f"[{'|'.join(hint.__members__)}]"
    if typing.get_origin(hint) in _UNIONS:
        return "|".join(dict.fromkeys(metavar(m) for m in typing.get_args(hint)))
    return _METAVARS.get(hint, "JSON")


def default_words(default: Any) -> str:
    """Return ``[default: 3]`` for a default that is worth showing."""
    if default is inspect.Parameter.empty or default is None:
        return ""
    if isinstance(default, str | list | tuple | dict | set | frozenset) and not default:
        return ""
    if isinstance(default, enum.Enum):
        shown = default.name
    elif isinstance(default, bool):
        shown = str(default).lower()
    elif dataclasses.is_dataclass(default):  # its fields show theirs
        return ""
    else:
        shown = str(default)
    return f"[default: {shown}]"


def read_word(text: str, hint: Any, where: str) -> Any:
    """Return the value of one word of the command line, of the type ``hint``.

    Args:
        text: the word.
        hint: the type. Lists, mappings and dataclasses are read as JSON.
        where: the flag, for errors.

    Raises:
        UsageError: the word is not of the type.
    """
    hint = strip(hint)
    if typing.get_origin(hint) in _UNIONS:
        return _read_union(text, hint, where)
    if hint is str:
        return text
    if hint is bytes:
        return text.encode()
    if hint is Any or hint is object:
        return _json_or_text(text)
    if hint is bool:
        return _one_of(text.lower(), _BOOLS, where)
    if hint is types.NoneType:
        return _one_of(text.lower(), _NULL, where)
    if typing.get_origin(hint) is typing.Literal:
        return _one_of(text, {str(a): a for a in typing.get_args(hint)}, where)
    if is_enum(hint):
        return _read_enum(text, hint, where)
    if hint in (int, float):
        return _read_number(text, hint, where)
    if hint is datetime.timedelta:
        return _read_duration(text, where)
    if hint in TEXT_TYPES:  # JSON has such a value as text, which needs no quotes here
        return convert(text, hint, where)
    return convert(_read_json(text, hint, where), hint, where)


def _read_union(text: str, hint: Any, where: str) -> Any:
    members = [strip(m) for m in typing.get_args(hint)]
    for member in sorted(members, key=lambda m: m is str):  # text takes all, so it is the last
        if member is types.NoneType and str in members:
            continue
        with contextlib.suppress(UsageError):
            return read_word(text, member, where)
    only = optional_of(hint)
    if only is not hint:  # say what its only type takes
        return read_word(text, only, where)
    raise _mismatch(text, hint, where)


def _one_of(text: str, choices: dict[str, Any], where: str) -> Any:
    if text in choices:
        return choices[text]
    listed = ", ".join(choices)
    raise UsageError(
        "flag-choice", f"{where}: {text!r} is not one of {listed}",
        did_you_mean(text, choices, otherwise=f"choose from {listed}"),
    )  # fmt: skip


def _read_enum(text: str, hint: type[enum.Enum], where: str) -> Any:
    """Read the name of a member, in any case, or its value."""
    by_value = {str(m.value): m for m in hint}
    by_lower = {name.lower(): m for name, m in hint.__members__.items()}
    found = hint.__members__.get(text) or by_value.get(text) or by_lower.get(text.lower())
    return found if found is not None else _one_of(text, dict(hint.__members__), where)


def _read_number(text: str, hint: Any, where: str) -> Any:
    try:
        return hint(text)
    except ValueError:
        pass
    raise _mismatch(text, hint, where)


def _read_duration(text: str, where: str) -> datetime.timedelta:
    try:
        return datetime.timedelta(seconds=parse_duration(text, where))
    except SpecError as error:
        raise UsageError("flag-type", error.message, error.hint) from None


def _read_json(text: str, hint: Any, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(
            "flag-json", f"{where}: {text!r} is not JSON: {error}",
            f"it takes {describe(hint)}, written as JSON; quote it for the shell: "
            f"""{where} '{{"key": 1}}'""",
        ) from None  # fmt: skip


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _mismatch(text: str, hint: Any, where: str) -> UsageError:
    return UsageError(
        "flag-type", f"{where}: {text!r} is not {describe(hint)}",
        'write for example "3"' if strip(hint) is int else f"give {describe(hint)}",
    )  # fmt: skip
