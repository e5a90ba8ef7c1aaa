"""The pod's termination message: what is known of the run when pod and store are out of reach."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from gpukit.ladder import CHARGED, Cause

from .log import say
from .record import Attempt
from .results import finite

__all__ = ["LIMIT", "Message", "row", "totals", "write"]

LIMIT = 4096
"""Bytes that the kubelet keeps of one container's message (kubernetes pkg/kubelet/container)."""

_REASON = 1000


@dataclass(frozen=True)
class Message:
    """What the message says; ``attempts`` are the earlier ones, oldest first."""

    run: str
    cause: Cause
    exit_code: int
    reason: str = ""
    attempt: int | None = None
    step: int = 0
    durable_step: int = 0
    steps: int = 0
    seconds: float = 0.0
    totals: dict[str, Any] | None = None
    attempts: Sequence[Attempt] = ()
    result: Any = None

    def to_json(self) -> bytes:
        """Return at most LIMIT bytes of JSON: old attempts go first, then the result."""
        body: dict[str, Any] = {
            "format": 1,
            "run": self.run,
            "attempt": self.attempt,
            "cause": self.cause.value,
            "exit_code": self.exit_code,
            "reason": self.reason[:_REASON],
            "step": self.step,
            "durable_step": self.durable_step,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "totals": self.totals,
        }
        with_result = {**body, "result": finite(self.result)}
        if len(_encode(with_result)) <= LIMIT:
            body = with_result
        else:
            body["result_omitted"] = True
        while len(_encode(body)) > LIMIT and body["reason"]:
            body["reason"] = body["reason"][: len(body["reason"]) // 2]
        return _with_attempts(body, self.attempts)


def totals(attempts: Sequence[Attempt], cost: Decimal | None) -> dict[str, Any]:
    """Add up attempts: how many, why they ended, running seconds, steps, US dollars."""
    return {
        "attempts": len(attempts),
        "preempted": sum(a.cause is Cause.PREEMPTED for a in attempts),
        "charged": sum(a.cause in CHARGED for a in attempts),
        "seconds": round(sum(a.seconds for a in attempts), 1),
        "steps": sum(a.progress.steps for a in attempts),
        "redone": sum(a.progress.redone or 0 for a in attempts),
        "cost": None if cost is None else str(cost.quantize(Decimal("0.0001"))),
    }


def write(path: Path | None, message: Message) -> None:
    """Write the message; a pod without a place for it is no error."""
    if path is None:
        return
    try:
        path.write_bytes(message.to_json())
    except OSError as error:
        say(f"the termination message cannot be written: {error}")


def _with_attempts(body: dict[str, Any], attempts: Sequence[Attempt]) -> bytes:
    best = _encode(body)
    rows: list[dict[str, Any]] = []
    for attempt in reversed(attempts):
        rows.insert(0, row(attempt))
        data = _encode({**body, "attempts": rows})
        if len(data) > LIMIT:
            break
        best = data
    return best


def row(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt in few bytes; ``gpukit status`` reads it (:mod:`gpukit.cluster.state`)."""
    progress, started = attempt.progress, attempt.start.started
    first = progress.first_step_at
    found = {
        "n": attempt.number,
        "cause": attempt.cause.value,
        "start": progress.start_step,
        "end": progress.last_step,
        "durable": progress.durable_step,
        "redone": progress.redone,
        "started": round(started, 1),
        "seconds": round(attempt.seconds, 1),
        "first": None if first is None else round(first - started, 1),
        "restore": None if progress.restore_seconds is None else round(progress.restore_seconds, 2),
        "node": attempt.start.node,
        "index": attempt.start.index,
        "gpu": None if progress.gpu is None else progress.gpu.to_row(),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), default=str).encode()
