"""What a docstring says of a function and its parameters: Google, NumPy and reST styles."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

__all__ = ["parameter_help", "summary"]

_GOOGLE = re.compile(r"^\*{0,2}(\w+)(?:\s*\(.*?\))?\s*:\s*(.*)$")
_GOOGLE_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Keyword Args|Attributes|Other Parameters):\s*$"
)
_NUMPY_HEAD = re.compile(r"^\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_REST = re.compile(
    r"^:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$"
)


def summary(function: Callable[..., Any]) -> str:
    """Return the first paragraph of the docstring, as one line."""
    text = inspect.getdoc(function) or ""
    first = text.strip().partition("\n\n")[0]
    lines = first.splitlines()
    if any(_REST.match(line) or _GOOGLE_SECTION.match(line) for line in lines[:1]):
        return ""
    return " ".join(line.strip() for line in lines)


def parameter_help(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the docstring says of each parameter, as one line each."""
    lines = (inspect.getdoc(function) or "").splitlines()
    found = {**_google(lines), **_numpy(lines), **_rest(lines)}
    return {name: " ".join(text.split()) for name, text in found.items() if text.split()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _google(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    inside, level, current = False, 0, ""
    for line in lines:
        if _GOOGLE_SECTION.match(line.strip()):
            inside, level, current = True, 0, ""
            continue
        if not inside or not line.strip():
            continue
        if not _indent(line):
            inside = False
            continue
        level = level or _indent(line)
        entry = _GOOGLE.match(line.strip())
        if _indent(line) <= level and entry:
            current = entry[1]
            found[current] = entry[2]
        elif current:
            found[current] += f" {line.strip()}"
    return found


def _numpy(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for i, line in enumerate(lines):
        underlined = i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1].strip())
        if underlined:
            inside = line.strip() in ("Parameters", "Other Parameters", "Attributes")
            names = []
        elif not inside or not line.strip() or re.fullmatch(r"-{3,}", line.strip()):
            continue
        elif not _indent(line):
            head = _NUMPY_HEAD.match(line)
            names = [n.strip().lstrip("*") for n in head[1].split(",")] if head else []
        else:
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}"
    return found


def _rest(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    current = ""
    for line in lines:
        entry = _REST.match(line.strip())
        if entry:
            current = entry[1]
            found[current] = entry[2]
        elif line.strip().startswith(":") or not line.strip():
            current = ""
        elif current:
            found[current] += f" {line.strip()}"
    return found
