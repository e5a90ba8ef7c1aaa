"""YAML text of plain data: the same bytes for the same data, whatever YAML library is installed.

Only what manifests need: mappings with text keys, lists, text, whole numbers, booleans, null.
Text that any YAML reader could take for something else is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["to_yaml"]

_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./+=-]|:(?=[A-Za-z0-9/.]))*|-[a-z]|\d+(?:[KMGTP]i|m)")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}


def to_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the documents as one YAML stream."""
    return "---\n".join("".join(f"{line}\n" for line in _mapping(d, "")) for d in documents)


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{_scalar(key)}:", item, indent)


def _entry(head: str, item: object, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        yield head
        yield from _mapping(item, indent + "  ")
    elif isinstance(item, list) and item:
        yield head
        for element in item:
            yield from _element(element, indent)
    else:
        yield f"{head} {_scalar(item)}"


def _element(element: object, indent: str) -> Iterator[str]:
    if isinstance(element, list) and element:
        yield f"{indent}-"
        for inner in element:
            yield from _element(inner, indent + "  ")
        return
    if not isinstance(element, Mapping) or not element:
        yield f"{indent}- {_scalar(element)}"
        return
    lines = _mapping(element, indent + "  ")
    yield f"{indent}- {next(lines)[len(indent) + 2 :]}"
    yield from lines


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list):
        return "[]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if text.isprintable() and ("'" not in text or '"' in text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
