"""``# gpukit: ignore[GK012]``: findings that a person has looked at and wants to keep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["ignored_lines", "is_ignored"]

_COMMENT = re.compile(r"(?:^|\s)#\s*gpukit:\s*ignore(?:\[([A-Za-z0-9_,\s-]*)\])?")
_ALL = frozenset({"*"})


def ignored_lines(text: str) -> dict[int, frozenset[str]]:
    """Return the ids that each line ignores; ``*`` for all of them.

    A comment that stands alone on its line is for the next line that is not a comment.
    """
    found: dict[int, frozenset[str]] = {}
    waiting: frozenset[str] = frozenset()
    for number, line in enumerate(text.splitlines(), start=1):
        match = _COMMENT.search(line)
        ids = _ids(match[1]) if match else frozenset[str]()
        if line.lstrip().startswith("#"):
            waiting |= ids
        elif line.strip():
            if ids | waiting:
                found[number] = ids | waiting
            waiting = frozenset()
    return found


def _ids(text: str | None) -> frozenset[str]:
    if text is None:
        return _ALL
    return frozenset(word.strip().upper() for word in text.split(",") if word.strip())


def is_ignored(rule: str, lines: Iterable[int], ignored: Mapping[int, frozenset[str]]) -> bool:
    """Tell whether one of the lines ignores the rule."""
    return any({rule, "*"} & ignored.get(line, frozenset()) for line in lines)
