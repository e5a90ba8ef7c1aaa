"""YAML documents with the line of every value, and careful ways to look into them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from gpukit.errors import SpecError, UsageError
from gpukit.quantity import parse_bytes

from .model import Edit, Steps

__all__ = [
    "Manifest", "amount", "dig", "listing", "mapping", "path_text", "put", "read_manifests",
    "strings",
]  # fmt: skip

_DEEPEST = 60


@dataclass(frozen=True)
class Manifest:
    """A Kubernetes object, and where each part of it is written."""

    data: Mapping[str, Any]
    file: str = ""
    lines: Mapping[Steps, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Its kind; empty where it has none."""
        return str(self.data.get("kind") or "")

    @property
    def group(self) -> str:
        """Its API group; empty for the core group."""
        return str(self.data.get("apiVersion") or "").rpartition("/")[0]

    @property
    def name(self) -> str:
        """Its name; empty where it has none."""
        found = mapping(self.data.get("metadata"))
        return str(found.get("name") or found.get("generateName") or "")

    @property
    def namespace(self) -> str:
        """Its namespace; empty where the context decides."""
        return str(dig(self.data, "metadata", "namespace") or "")

    @property
    def subject(self) -> str:
        """How it is called in a finding."""
        return f"{self.kind}/{self.name}"

    def line(self, at: Steps) -> int:
        """Return the line of a value, or of what is around it."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)


def read_manifests(text: str, file: str = "") -> list[Manifest]:
    """Return the objects of a YAML or JSON stream; those of a List one by one.

    Raises:
        UsageError: it is not YAML.
    """
    found: list[Manifest] = []
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            data = loader.construct_document(node)
            lines: dict[Steps, int] = {}
            _note_lines(node, (), lines)
            found += _objects(data, file, lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else file
        raise UsageError(
            "manifest-yaml", f"{where} is not YAML: {getattr(error, 'problem', None) or error}",
            "lint what a template renders: helm template … | gpukit lint -"
            if "{{" in text else "correct the line",
        ) from None  # fmt: skip
    finally:
        loader.dispose()
    return found


def _objects(data: object, file: str, lines: Mapping[Steps, int]) -> Iterator[Manifest]:
    if not isinstance(data, dict):
        return
    if not str(data.get("kind", "")).endswith("List") or not isinstance(data.get("items"), list):
        yield Manifest(data, file, lines)
        return
    for index, item in enumerate(data["items"]):
        start: Steps = ("items", index)
        inner = {at[2:]: line for at, line in lines.items() if at[:2] == start}
        yield from _objects(item, file, inner)


def _note_lines(node: yaml.Node, at: Steps, lines: dict[Steps, int]) -> None:
    """Note where values begin: that of a key in a mapping is the line of the key."""
    lines.setdefault(at, node.start_mark.line + 1)
    if len(at) > _DEEPEST:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*at, str(key.value))
            lines.setdefault(inner, key.start_mark.line + 1)
            _note_lines(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*at, index), lines)


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> list[Any]:
    """Return a list as it is, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def dig(value: object, *steps: str | int) -> Any:
    """Return the value at the end of ``steps``; None where the way ends before."""
    for step in steps:
        inside = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if not inside and not (isinstance(value, Mapping) and step in value):
            return None
        value = value[step]  # type: ignore[index]  # of either kind, as was seen above
    return value


def put(root: object, at: Steps, value: Any) -> Edit:
    """Return the edit that makes ``value`` be at ``at``, with the parents that are missing."""
    known = 0
    while known < len(at) and dig(root, *at[: known + 1]) is not None:
        known += 1
    if known == len(at):
        return Edit("replace", at, value)
    for step in reversed(at[known + 1 :]):
        value = {step: value}
    return Edit("add", at[: known + 1], value)


def amount(value: object) -> int | None:
    """Return the bytes of a quantity of memory; None for what is none."""
    try:
        return parse_bytes(value if isinstance(value, int) else str(value))
    except SpecError:
        return None


def strings(value: object, at: Steps = ()) -> Iterator[tuple[Steps, str]]:
    """Return every text in a value, with the way to it."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping) and len(at) < _DEEPEST:
        for key, inner in value.items():
            yield from strings(inner, (*at, key))
    elif isinstance(value, list) and len(at) < _DEEPEST:
        for index, inner in enumerate(value):
            yield from strings(inner, (*at, index))


_PLAIN = re.compile(r"[A-Za-z_][\w-]*")


def path_text(at: Steps) -> str:
    """Return a way as people write it: ``spec.containers[0].resources``."""
    text = ""
    for step in at:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"['{step}']"
    return text
