"""The saves of a training loop: when one is begun, what becomes of it, and who is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from gpukit.errors import StoreError
from gpukit.runtime.context import Context

from .arena_engine import SnapshotTornError
from .engine import Engine, Failed, Saved, Stable
from .schedule import Schedule

__all__ = ["Saves"]

_SHORT = 0.01  # seconds
_LAST_WAIT = 60.0  # for the save in flight at the end of training
_SURVIVABLE = (OSError, StoreError, SnapshotTornError)
"""What fails a save and leaves training alone; to be fenced off is not among it."""


class Saves:
    """Begins saves as the schedule wants them, one in flight at a time.

    Args:
        ctx: the run; None outside of one.
        engine: what saves.
        schedule: when.
    """

    def __init__(self, ctx: Context | None, engine: Engine, schedule: Schedule) -> None:
        self._ctx = ctx
        self._engine = engine
        self._schedule = schedule
        self._begun: int | None = None  # step of the newest save that was begun
        self._owed = False  # a save is due, and could not be begun yet
        self._said_of: int | None = -1  # the save in flight that others were put off for
        self.in_flight = False
        self.durable: int | None = None

    def restored(self, step: int) -> None:
        """Take note that training goes on from the checkpoint of that step."""
        self.durable = self._begun = step

    def wanted(self, step: int) -> bool:
        """Tell whether to save at this safe point; what is due while one is in flight waits."""
        self._owed = self._owed or self._schedule.due(step, fresh=self._begun != step)
        if not self._owed:
            return False
        why = self._engine.busy()
        if why and self._said_of != self._begun:
            self._said_of = self._begun
            _say(f"checkpoint of step {step} is put off: {why}")
        return not why

    def begin(
        self, step: int, capture: Callable[[], Any], stable: Stable, *, last: bool = False
    ) -> None:
        """Begin a save; what becomes of it is heard at a later safe point.

        Args:
            step: safe points passed.
            capture: returns the state.
            stable: see :meth:`.engine.Engine.begin`.
            last: there will be no other safe point.
        """
        alone = self._ctx is None or self._ctx.world_size == 1
        try:
            while self._engine.begin(step, capture(), stable):
                if alone and not last:
                    return  # at one of the next safe points
                self._engine.wait(_SHORT)  # the other ranks have begun: this one must
        except _SURVIVABLE as error:
            self._failed(Failed(step, error))
        self._schedule.began()
        self._owed, self.in_flight, self._begun = False, True, step
        self.collect()

    def finish(self, step: int, capture: Callable[[], Any], stable: Stable) -> None:
        """Begin the save that is due and was put off: there will be no other safe point."""
        if self._owed and self._engine.wait(_LAST_WAIT):
            self.collect()
            self.begin(step, capture, stable, last=True)

    def collect(self) -> None:
        """Take note of what became of the saves that were begun.

        Raises:
            FencedError: a newer attempt of the run has begun.
            CheckpointError: the state holds something that cannot be kept.
        """
        for outcome in self._engine.outcomes():
            self.in_flight = False
            if isinstance(outcome, Saved):
                self._note(outcome)
            else:
                self._failed(outcome)

    def settle(self) -> None:
        """Wait for the save in flight: what it brings need not be saved again."""
        if self._ctx is not None:
            self._engine.wait(self._ctx.remaining())
            self.collect()

    def now(self, step: int, state: Any) -> None:
        """Save, and return when it is durable.

        Raises:
            OSError, StoreError: the store failed; older checkpoints are untouched.
        """
        self._schedule.began()
        saved = self._engine.save(step, state)
        self.collect()
        self._note(saved)

    def last(self, step: int, state: Any) -> None:
        """Save before leaving; a failure is told and changes nothing."""
        try:
            self.now(step, state)
        except _SURVIVABLE as error:
            self._failed(Failed(step, error))

    def _note(self, saved: Saved) -> None:
        self.durable = saved.step
        self._begun = max(self._begun or 0, saved.step)
        self._schedule.durable(saved.stall, saved.seconds)
        self._send({"event": "durable", **asdict(saved)})

    def _failed(self, failed: Failed) -> None:
        error = failed.error
        if not isinstance(error, _SURVIVABLE):
            raise error
        self._owed = self._owed or isinstance(error, SnapshotTornError)  # one may wait behind it
        _say(f"checkpoint of step {failed.step} failed, training goes on: {error}")
        self._send({"event": "save-failed", "step": failed.step, "message": str(error)})

    def _send(self, event: dict[str, Any]) -> None:
        if self._ctx is not None:
            self._ctx.send(event)


def _say(text: str) -> None:
    print(f"gpukit: {text}", file=sys.stderr, flush=True)
