"""What a rule is, what it finds, and how that is put right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Edit", "Finding", "Fix", "Hit", "Needs", "Rule", "Severity", "Steps"]

Severity = Literal["error", "warning", "note"]
Steps = tuple[str | int, ...]
"""The way from the root of an object to a value in it."""

PAGE = "docs/reference/lint.md"


@dataclass(frozen=True)
class Rule:
    """One thing that is known to go wrong.

    Attributes:
        id: ``GK001`` …; never used again for something else.
        name: the same in words.
        severity: ``error`` cannot work or does harm; ``warning`` is a mistake on most clusters;
            ``note`` is worth a thought and never fails a check.
        title: in one line.
        why: what happens because of it.
        when: under which condition it is reported, and when it is not.
        source: where that was read or seen.
    """

    id: str
    name: str
    severity: Severity
    title: str
    why: str
    when: str
    source: str

    @property
    def doc(self) -> str:
        """Where the rule is explained."""
        return f"{PAGE}#{self.id.lower()}"


@dataclass(frozen=True)
class Edit:
    """One operation of a JSON Patch (RFC 6902), as ``kubectl patch --type json`` takes it."""

    op: Literal["add", "remove", "replace"]
    at: Steps
    value: Any = None

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON data."""
        escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in self.at)
        plain: dict[str, Any] = {"op": self.op, "path": "".join(f"/{step}" for step in escaped)}
        return plain if self.op == "remove" else {**plain, "value": self.value}


@dataclass(frozen=True)
class Fix:
    """How a finding is put right.

    Attributes:
        text: what to write, for a person.
        options: options of ``@gpu_job`` that put it right as they stand.
        patch: edits of the object that put it right as they stand.
    """

    text: str
    options: Mapping[str, object] = field(default_factory=dict)
    patch: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class Hit:
    """What a check of a rule reports: in an object (``at``), an option or a line of the job."""

    message: str
    fix: Fix
    at: Steps = ()
    option: str = ""
    line: int = 0


@dataclass(frozen=True)
class Finding:
    """A hit of a rule at a place."""

    rule: Rule
    message: str
    fix: Fix
    file: str
    line: int
    subject: str

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "id": self.rule.id,
            "name": self.rule.name,
            "severity": self.rule.severity,
            "title": self.rule.title,
            "message": self.message,
            "why": self.rule.why,
            "file": self.file,
            "line": self.line,
            "subject": self.subject,
            "fix": {
                "text": self.fix.text,
                "options": dict(self.fix.options),
                "patch": [edit.to_plain() for edit in self.fix.patch],
            },
            "doc": self.rule.doc,
        }


@dataclass(frozen=True)
class Needs:
    """What is known of a job by measurement; None: nothing.

    Attributes:
        gpu_memory: bytes of GPU memory that it uses at its peak.
        save_seconds: how long a checkpoint takes until it is durable.
    """

    gpu_memory: int | None = None
    save_seconds: int | None = None
