"""A run as it goes on: what the job writes, what happens to it, and a bar on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from gpukit.contract import Task
from gpukit.ladder import ExitCode
from gpukit.local.directory import Event
from gpukit.local.follow import LogLine

from . import output
from .amounts import duration, number

__all__ = ["RunView", "make_bar", "make_view"]

_STRUCTURED = '{"gpukit":'
_VERBS = {"crash": "crashed", "hang": "hung", "permanent": "ended for good", "budget": "stopped"}
_QUIET_SECONDS = 10.0  # between two lines of progress where there is no bar


class Bar(Protocol):
    """Where the progress is drawn."""

    def write(self, text: str) -> None:
        """Write a line above the bar."""

    def progress(self, step: int, total: int | None, words: str) -> None:
        """Move the bar."""


class RunView:
    """Turns log lines and events into lines for a person.

    Args:
        task: of the run.
        bar: where to write.
    """

    def __init__(self, task: Task, bar: Bar) -> None:
        self.task = task
        self.bar = bar
        self._attempt = 0
        self._interrupted_at: float | None = None
        self._first_step = False
        self._why = ""

    def show(self, item: LogLine | Event) -> None:
        """Show one line or event."""
        if isinstance(item, LogLine):
            self.line(item.text)
        else:
            self._event(item)

    def line(self, text: str) -> None:
        """Show one line of the pod."""
        if text.startswith(_STRUCTURED) and (fields := _parse(text)):
            self._structured(fields)
        elif not text.startswith("gpukit: "):
            self.bar.write(text)
        elif not self._known(text):
            self.bar.write(output.style(text, dim=True))

    def say(self, text: str, **style: Any) -> None:
        """Say something of gpukit's own, in a line that stands out from the job's."""
        self.bar.write(output.style(output.mark("▸ "), fg="cyan", bold=True) + output.style(
            output.mark(text), **style))  # fmt: skip

    def stopping(self, asked: int) -> None:
        """Say what Ctrl-C does."""
        if asked == 1:
            self.say(
                f"stopping: up to {self.task.grace} s to save a checkpoint; Ctrl-C again kills it",
                fg="yellow",
            )
        else:
            self.say("killing it", fg="red")

    def _known(self, text: str) -> bool:
        """Tell whether the runtime says what this view says in its own words."""
        return text.startswith(("gpukit: SIGTERM: stopping", "gpukit: no further attempt"))

    def _event(self, event: Event) -> None:
        kind = event["event"]
        if kind == "started":
            self._attempt = int(str(event["attempt"]))
            self._first_step = False
        elif kind == "notice":
            self._interrupted_at = float(str(event["time"]))
            self._notice(event)
        elif kind == "killed":
            self.say(f"{event['grace']} s of grace are over: killed", fg="yellow")
        elif kind == "exited":
            self._exited(event)
        elif kind == "waiting":
            self.say(f"next try in {float(str(event['seconds'])):.0f} s", dim=True)

    def _notice(self, event: Event) -> None:
        self._why = str(event["kind"])
        if self._why == "preemption":
            self.say(
                f"attempt {self._attempt}: preemption (simulated), {event['grace']} s of grace",
                fg="yellow",
            )
        elif self._why == "node-loss":
            self.say(f"attempt {self._attempt}: node lost (simulated)", fg="yellow")

    def _exited(self, event: Event) -> None:
        code, message = int(str(event["code"])), event.get("message")
        said: dict[str, Any] = message if isinstance(message, dict) else {}
        self._interrupted_at = self._interrupted_at or float(str(event["time"]))
        if code == ExitCode.FINISHED or self._why in ("node-loss", "stop"):
            self._why = ""
            return
        self.pod_left(code, said, disrupted=bool(event["disrupted"]))

    def pod_left(self, code: int, said: dict[str, Any], *, disrupted: bool) -> None:
        """Say how an attempt ended that did not finish.

        Args:
            code: exit code of its pod.
            said: its termination message.
            disrupted: the cluster ended it, and not the job.
        """
        who = f"attempt {self._attempt}"
        if disrupted or said.get("cause") == "preempted":
            step = said.get("durable_step")
            self.say(f"{who} has left" + (f"; step {step} is saved" if step else "; nothing saved"))
        else:
            reason = said.get("reason") or f"the pod left with exit code {code}"
            if said and said.get("attempt") is None:
                self.say(f"no further attempt: {reason}", fg="red")
            else:
                self.say(f"{who} {_VERBS.get(said.get('cause', ''), 'ended')}: {reason}", fg="red")
        self._why = ""

    def _structured(self, fields: dict[str, Any]) -> None:
        kind = fields["gpukit"]
        if kind == "attempt" and isinstance(fields.get("attempt"), int):
            self._attempt = fields["attempt"]
        elif kind == "restored" and fields.get("step"):
            took = duration(fields.get("seconds"))
            self.say(
                f"attempt {self._attempt} goes on at step {fields['step']}, restored in {took}"
            )
        elif kind == "progress":
            if not self._first_step and self._interrupted_at is not None:
                lost = float(fields.get("time", 0.0)) - self._interrupted_at
                self.say(f"first step {duration(lost)} after the interruption", dim=True)
                self._interrupted_at = None
            self._first_step = True
            self.bar.progress(fields["step"], fields.get("total"), _metrics(fields))


def _parse(text: str) -> dict[str, Any] | None:
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _metrics(fields: dict[str, Any]) -> str:
    metrics = fields.get("metrics") or {}
    epoch = fields.get("epoch")
    words = [f"epoch {epoch}"] if epoch is not None else []
    return "  ".join([*words, *(f"{name} {number(value)}" for name, value in metrics.items())])


class PlainBar:
    """No bar: a line now and then, for logs and pipes."""

    def __init__(self) -> None:
        self._last = -_QUIET_SECONDS

    def write(self, text: str) -> None:
        """Write a line."""
        output.talk(text)

    def progress(self, step: int, total: int | None, words: str) -> None:
        """Write a line of progress, if the last one is some time ago."""
        now = time.monotonic()
        if now - self._last >= _QUIET_SECONDS:
            self._last = now
            output.talk(f"step {step}{f'/{total}' if total else ''}  {words}".rstrip())


@contextmanager
def make_bar() -> Iterator[Bar]:
    """Return a bar on a terminal, and lines of progress elsewhere."""
    if not sys.stderr.isatty():
        yield PlainBar()
        return
    from .bar import RichBar

    with RichBar() as bar:
        yield bar


@contextmanager
def make_view(task: Task) -> Iterator[RunView]:
    """Return a view for stderr: with a bar on a terminal, without one elsewhere."""
    with make_bar() as bar:
        yield RunView(task, bar)
