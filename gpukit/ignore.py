"""Which files of a folder are left out: .gitignore and .gpukitignore, as git reads them.

The rules are those of https://git-scm.com/docs/gitignore: the last pattern that matches decides,
files deeper in the tree go before those above, and what is in an excluded folder stays out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Rule", "parse_rules", "walk"]

IGNORE_FILES = (".gitignore", ".gpukitignore")
_ALWAYS = frozenset({
    ".git", ".hg", ".svn", ".gpukit", "__pycache__", ".venv", "venv", "node_modules", ".DS_Store",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".tox", ".nox",
})  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One pattern of an ignore file.

    Attributes:
        folder: the folder of the file that has it, relative to the walked one; "" for itself.
        regex: what a path relative to ``folder`` must match in full.
        negated: the pattern brings files back.
        folders_only: the pattern is for folders.
    """

    folder: str
    regex: re.Pattern[str]
    negated: bool
    folders_only: bool

    def matches(self, path: str, is_folder: bool) -> bool:
        """Tell whether the rule is about ``path``, which is relative to the walked folder."""
        if self.folders_only and not is_folder:
            return False
        if self.folder:
            if not path.startswith(f"{self.folder}/"):
                return False
            path = path[len(self.folder) + 1 :]
        return self.regex.fullmatch(_bytes(path)) is not None


def parse_rules(text: str, folder: str = "") -> list[Rule]:
    """Return the rules of an ignore file that lies in ``folder``."""
    rules = []
    for line in _bytes(text).split("\n"):
        pattern = re.sub(r"(?<!\\)[ \t\r]+$", "", line)
        if not pattern or pattern.startswith("#"):
            continue
        negated = pattern.startswith("!")
        pattern = pattern[1:] if negated else pattern
        folders_only = pattern.endswith("/")
        pattern = pattern.rstrip("/") if folders_only else pattern
        if not pattern:
            continue
        anchored = "/" in pattern
        regex = _regex(pattern.lstrip("/"))
        if not anchored:
            regex = f"(?:.*/)?{regex}"
        rules.append(Rule(folder, re.compile(regex, re.DOTALL), negated, folders_only))
    return rules


def _bytes(text: str) -> str:
    """Return one character per byte: to git, ``?`` and ``[!a]`` stand for one byte."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _regex(pattern: str) -> str:
    out, i = "", 0
    while i < len(pattern):
        rest = pattern[i:]
        at_start = i == 0 or pattern[i - 1] == "/"
        if at_start and rest.startswith("**/"):
            out, i = f"{out}(?:.*/)?", i + 3
        elif at_start and rest == "**":
            out, i = f"{out}.+", i + 2
        elif rest[0] == "*":
            out, i = f"{out}[^/]*", i + len(rest) - len(rest.lstrip("*"))
        elif rest[0] == "?":
            out, i = f"{out}[^/]", i + 1
        elif rest[0] == "[" and (end := _class_end(rest)):
            body = rest[1:end].replace("\\", r"\\").replace("[", r"\[")
            body = f"^{body[1:]}" if body[0] in "!^" else body
            out, i = f"{out}(?!/)[{body}]", i + end + 1
        else:
            skip = 1 if rest[0] == "\\" and len(rest) > 1 else 0
            out, i = out + re.escape(rest[skip]), i + 1 + skip
    return out


def _class_end(text: str) -> int:
    """Return the index of the ``]`` that ends a class, 0 where it has no end."""
    start = 2 if text[1:2] in ("!", "^") else 1
    return max(0, text.find("]", start + 1))


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of ``folder`` that are not left out: relative name and path, sorted.

    Links to folders are yielded as files are, and not followed: the caller says what becomes of
    them. Ignore files of the folders above count too, up to the one with ``.git``.
    """
    yield from _walk(folder, "", _rules_above(folder))


def _rules_above(folder: Path) -> list[Rule]:
    """Return the rules of the checkout's folders above ``folder``, rewritten for it."""
    above = [folder, *folder.parents]
    top = next((i for i, p in enumerate(above) if (p / ".git").exists()), 0)
    rules = []
    for parent in reversed(above[1 : top + 1]):
        prefix = folder.relative_to(parent).as_posix()
        for rule in _rules_of(parent, ""):
            rules.append(_Above(rule.folder, rule.regex, rule.negated, rule.folders_only, prefix))
    return list[Rule](rules)


@dataclass(frozen=True)
class _Above(Rule):
    """A rule of a folder above the walked one, which lies at ``prefix`` below it."""

    prefix: str

    def matches(self, path: str, is_folder: bool) -> bool:
        return super().matches(f"{self.prefix}/{path}", is_folder)


def _rules_of(folder: Path, name: str) -> list[Rule]:
    rules = []
    for ignore in IGNORE_FILES:
        try:
            text = (folder / ignore).read_text(encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, IsADirectoryError):
            continue
        rules += parse_rules(text, name)
    return rules


def _walk(folder: Path, name: str, rules: list[Rule]) -> Iterator[tuple[str, Path]]:
    rules = rules + _rules_of(folder, name)
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda e: e.name)
    if any(e.name == "pyvenv.cfg" for e in entries):  # a virtual environment, whatever its name
        return
    for entry in entries:
        path = f"{name}/{entry.name}" if name else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if (
            entry.name in _ALWAYS
            or entry.name.endswith(".pyc")
            or _left_out(rules, path, is_folder)
        ):
            continue
        if is_folder:
            yield from _walk(Path(entry.path), path, rules)
        elif entry.is_symlink() or entry.is_file():
            yield path, Path(entry.path)


def _left_out(rules: list[Rule], path: str, is_folder: bool) -> bool:
    for rule in reversed(rules):
        if rule.matches(path, is_folder):
            return not rule.negated
    return False
