"""A verdict: one dominant reason why a run does not run, its evidence, and what to do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Fix", "Verdict", "kubectl", "options", "wait"]


@dataclass(frozen=True)
class Fix:
    """What to do, so that it can be applied as it stands.

    Attributes:
        kind: ``options``: submit again with other options of the job. ``kubectl``: a command for
            whoever may run it. ``wait``: nothing is to be done. ``advice``: only a person can.
        text: what it does, and why.
        options: new values by option, in the words of ``@gpu_job``. None removes the option; a
            mapping such as ``node_selector`` is merged by key, and None in it removes the key.
        command: program and arguments, for a kubectl whose context and namespace are the run's.
        stdin: what the command reads.
        namespace: that the command is about; empty for a command about the whole cluster.
        admin: it needs more rights than those of a person who submits jobs.
    """

    kind: Literal["options", "kubectl", "wait", "advice"]
    text: str
    options: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    namespace: str = ""
    stdin: str = ""
    admin: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The command, with the namespace that it is about."""
        if not self.namespace or self.command[0] != "kubectl":
            return self.command
        return (self.command[0], "-n", self.namespace, *self.command[1:])

    @property
    def line(self) -> str:
        """What to type; empty where there is nothing."""
        if self.kind == "options":
            return _typed(self.options)
        if self.kind == "kubectl":
            typed = " ".join(_word(word) for word in self.words)
            return f"echo {shlex.quote(self.stdin)} | {typed}" if self.stdin else typed
        return ""

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        found: dict[str, Any] = {"kind": self.kind, "text": self.text, "admin": self.admin}
        if self.kind == "options":
            found["options"] = dict(self.options)
        if self.kind == "kubectl":
            found["command"] = list(self.words)
            if self.stdin:
                found["stdin"] = self.stdin
        return found


@dataclass(frozen=True)
class Verdict:
    """Why a run does not run.

    Attributes:
        id: stable name of the reason, for scripts and the docs.
        reason: one sentence without a full stop at its end.
        evidence: numbers and names that show it.
        fix: what to do first.
        others: what could be done instead.
        waiting: nothing is wrong; it goes on by itself.
    """

    id: str
    reason: str
    fix: Fix
    evidence: tuple[str, ...] = ()
    others: tuple[Fix, ...] = ()
    waiting: bool = False

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "id": self.id,
            "reason": self.reason,
            "evidence": list(self.evidence),
            "waiting": self.waiting,
            "fix": self.fix.data(),
            "others": [fix.data() for fix in self.others],
        }


def options(text: str, **values: Any) -> Fix:
    """Return the fix that submits again with other options."""
    return Fix("options", text, options=values)


def kubectl(text: str, *words: str, stdin: str = "", admin: bool = True) -> Fix:
    """Return the fix that is a kubectl command."""
    return Fix("kubectl", text, command=("kubectl", *words), stdin=stdin, admin=admin)


def wait(text: str) -> Fix:
    """Return the fix that is patience."""
    return Fix("wait", text)


def _typed(values: Mapping[str, Any]) -> str:
    """Write options as flags of ``gpukit submit``; what is to go has no flag of its own."""
    flags = [word for name, value in values.items() for word in _flag(name, value)]
    gone = ", ".join(word for name, value in values.items() for word in _gone(name, value))
    if not flags:
        return f"take {gone} out of @gpu_job, and submit again"
    note = f"   # and take {gone} out of @gpu_job" if gone else ""
    return f"gpukit submit {' '.join(flags)} …{note}"


def _gone(name: str, value: Any) -> list[str]:
    if value is None:
        return [f"{name}="]
    if name != "pod" and isinstance(value, Mapping):
        return [f"{key!r} of {name}=" for key, item in value.items() if item is None]
    return []


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if value is True or value is False:
        return [flag if value else f"--no-{name}"]
    if name == "tolerations":
        return [f"{flag} {shlex.quote(_toleration(item))}" for item in value]
    if name != "pod" and isinstance(value, Mapping):
        pairs = [f"{key}={item}" for key, item in value.items() if item is not None]
        return [f"{flag} {shlex.quote(pair)}" for pair in pairs]
    text = value if isinstance(value, str) else json.dumps(value)
    return [f"{flag} {shlex.quote(text)}"]


def _toleration(item: Mapping[str, Any]) -> str:
    value = f"={item['value']}" if item.get("value") else ""
    effect = f":{item['effect']}" if item.get("effect") else ""
    return f"{item.get('key', '')}{value}{effect}"


def _word(word: str) -> str:
    """Quote a word for the shell; ``"$NAME"`` stays the shell's own, on purpose."""
    key, dollar, variable = word.partition("=$")
    if dollar and variable.isidentifier():
        return f'{key}="${variable}"'
    return shlex.quote(word)
