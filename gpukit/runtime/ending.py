"""Why an attempt ended: from what a trainer said and how its process left to a cause."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpukit.ladder import Cause

__all__ = ["Ending", "TrainerState", "oom_kills"]

_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


@dataclass(frozen=True)
class Ending:
    """A cause, the reason in words for a person, and the traceback with its digest if any."""

    cause: Cause
    reason: str
    error: str | None = None
    traceback: str = ""


@dataclass
class TrainerState:
    """What one trainer has said, and how its process left.

    Attributes:
        rank: its rank.
        said: its last words: the ``finished``, ``stopped``, ``crashed`` or ``fatal`` event.
        exit_code: None while it runs; negative for a signal.
    """

    rank: int
    said: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def note(self, event: Mapping[str, Any]) -> None:
        """Keep the event if it is about the end; the first one counts."""
        if not self.said and event["event"] in ("finished", "stopped", "crashed", "fatal"):
            self.said = dict(event)

    @property
    def finished(self) -> bool:
        """The function returned."""
        return self.said.get("event") == "finished"

    def failure(self, out_of_memory: bool = False) -> Ending | None:
        """Return why this trainer ended the attempt; None while it runs, or if it finished."""
        said = self.said.get("event")
        if said == "fatal":
            hint = self.said.get("hint")
            reason = f"{self.said.get('message')}" + (f" ({hint})" if hint else "")
            return Ending(Cause.PERMANENT, self._who(reason))
        if said == "crashed":
            reason = f"{self.said.get('type')}: {self.said.get('message')}".rstrip(": ")
            text = str(self.said.get("traceback", ""))
            return Ending(Cause.CRASH, self._who(reason), self.said.get("digest"), text)
        if said == "stopped":
            return Ending(Cause.PREEMPTED, "SIGTERM sent to the trainer alone")
        if self.exit_code is None or said == "finished":
            return None
        return Ending(Cause.CRASH, self._who(_describe_exit(self.exit_code, out_of_memory)))

    def _who(self, reason: str) -> str:
        return f"rank {self.rank}: {reason}" if self.rank else reason


def oom_kills() -> int:
    """Return how many processes of this container the kernel killed for memory so far."""
    with suppress(OSError, ValueError, IndexError):
        for line in _MEMORY_EVENTS.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _describe_exit(code: int, out_of_memory: bool) -> str:
    if code >= 0:
        return (
            f"the process left with exit code {code} before the function returned "
            "(os._exit, or a library that ended it)"
        )
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if out_of_memory:
        return f"killed by {name}: out of memory, says the kernel; raise memory="
    hints = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in native code)"}
    return f"killed by {name}{hints.get(name, '')}"
