"""Progress and metrics on their way to the supervisor, without waiting for the GPU."""

from __future__ import annotations

import math
import time
from typing import Any

from gpukit.runtime.context import Context
from gpukit.runtime.trackers import active_ids

__all__ = ["Metrics"]

_INTERVAL = 0.5
_ALIVE = 5.0


class Metrics:
    """Throttles step events, and reads metrics only when they are there already.

    Args:
        ctx: the run; None outside of one, where nothing is sent.
    """

    def __init__(self, ctx: Context | None) -> None:
        self._ctx = ctx
        self._sent_at = -math.inf
        self._pending: dict[str, Any] = {}
        self._copied: Any = None
        self._tracked: dict[str, str] = {}

    def log(self, metrics: dict[str, Any]) -> None:
        """Take note of this step's metrics; a GPU tensor is copied in the background."""
        self.alive()
        if self._ctx is None or self._pending or time.monotonic() - self._sent_at < _INTERVAL:
            return
        self._pending = {name: _detached(value) for name, value in metrics.items()}
        if any(getattr(v, "is_cuda", False) for v in metrics.values()):
            import torch

            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def alive(self) -> None:
        """Say that this process is not hanging, where no step has said so for some seconds."""
        if self._ctx is not None and time.monotonic() - self._sent_at >= _ALIVE:
            self._sent_at = time.monotonic()
            self._ctx.send({"event": "alive"})

    def at(self, step: int, epoch: int, total: int | None, *, last: bool = False) -> None:
        """Send a step event if one is due; metrics go with it once their copy has arrived.

        Args:
            step: steps done.
            epoch: the epoch, from 0.
            total: steps in all, None where nobody knows.
            last: of an epoch, or before leaving: due in any case.
        """
        if self._ctx is None:
            return
        now = time.monotonic()
        if now - self._sent_at < _INTERVAL and not last:
            return
        metrics: dict[str, float] = {}
        if self._pending and (self._copied is None or self._copied.query()):
            metrics = {k: n for k, v in self._pending.items() if (n := _number(v)) is not None}
            self._pending, self._copied = {}, None
        self._sent_at = now
        self._ctx.send(
            {"event": "step", "step": step, "total": total, "epoch": epoch, "metrics": metrics}
        )
        self._track(self._ctx)

    def _track(self, ctx: Context) -> None:
        """Have the record keep what experiment trackers call this run."""
        ids = {**self._tracked, **active_ids()}
        if ctx.rank == 0 and ids != self._tracked:
            self._tracked = ids
            ctx.send({"event": "trackers", "ids": ids})


def _detached(value: Any) -> Any:
    if getattr(value, "is_cuda", False):
        return value.detach().to("cpu", non_blocking=True)
    return value.detach().clone() if hasattr(value, "detach") else value


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None
