"""How far an attempt is, read from its log: the log knows at once, and survives a node loss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LogProgress", "structured"]

_STRUCTURED = b'{"gpukit":'


@dataclass
class LogProgress:
    """Follows the structured lines of one attempt's log.

    Attributes:
        path: the log.
        offset: where to read on; at first, where this attempt begins.
        began: the attempt got as far as the run record.
        first_step_at: unix seconds of its first step; None before it.
        start_step: the step it was restored at; 0 from scratch.
        last_step: the newest step that the log tells of.
    """

    path: Path
    offset: int = 0
    began: bool = False
    first_step_at: float | None = None
    start_step: int = 0
    last_step: int | None = None

    @property
    def steps(self) -> int:
        """Steps that the log tells of since the attempt began."""
        return (self.last_step or self.start_step) - self.start_step

    def read(self) -> None:
        """Take in what is new."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for fields in structured(whole):
            self._take(fields)

    def _take(self, fields: dict[str, object]) -> None:
        kind, step = fields.get("gpukit"), fields.get("step")
        if kind == "attempt":
            self.began = True
        elif kind == "progress" and isinstance(step, int):
            if self.first_step_at is None:
                self.first_step_at = float(str(fields.get("time", 0.0)))
            self.last_step = step
        elif kind == "checkpoint" and isinstance(step, int):
            self.last_step = max(step, self.last_step or 0)
        elif kind == "restored" and isinstance(step, int):
            self.start_step = step


def structured(data: bytes) -> Iterator[dict[str, object]]:
    """Yield the runtime's structured lines among all lines of a log."""
    for line in data.splitlines():
        if not line.startswith(_STRUCTURED):
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict):
            yield fields
