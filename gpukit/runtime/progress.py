"""How far the attempt is: from trainers' events to the log, the record and the supervisor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gpukit.errors import StoreError

from . import log
from .hang import Pulse
from .record import Progress, RunRecord
from .usage import Meter

__all__ = ["ProgressWriter", "Tracker"]

_RECORD_SECONDS = 10.0
_BEAT_SECONDS = 30.0


class ProgressWriter:
    """Puts the newest progress into the record, from a thread of its own.

    A store that is slow or gone holds up neither the training nor the answer to SIGTERM.
    """

    def __init__(self, record: RunRecord, number: int) -> None:
        self._record = record
        self._number = number
        self._newest: Progress | None = None
        self._trackers: Mapping[str, str] | None = None
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="gpukit-progress", daemon=True)
        self._thread.start()

    def offer(self, progress: Progress) -> None:
        """Have this written soon, unless something newer comes first."""
        with self._change:
            self._newest = progress
            self._change.notify()

    def offer_trackers(self, ids: Mapping[str, str]) -> None:
        """Have it written soon what experiment trackers call the run."""
        with self._change:
            self._trackers = ids
            self._change.notify()

    def close(self, patience: float) -> None:
        """Write what is left; give up after ``patience`` seconds."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._newest or self._trackers or self._closing)
                newest, self._newest = self._newest, None
                trackers, self._trackers = self._trackers, None
            if newest is None and trackers is None:
                return
            try:
                if trackers is not None:
                    self._record.put_trackers(trackers)
                if newest is not None:
                    self._record.put_progress(self._number, newest)
            except StoreError as error:
                log.say(str(error))


class Tracker:
    """Follows the events of rank 0.

    Args:
        number: the attempt.
        known: the newest durable step of the earlier attempts; the restore will tell better.
        offer: takes a progress that is to be recorded.
        every: least seconds between two progress lines.
        pulse: tells when silence is a hang.
        reached: the newest step that the attempt before finished; None for the first attempt.
        meter: what it uses of its GPUs.
        trackers: takes what experiment trackers call the run.
    """

    def __init__(
        self,
        number: int,
        known: int,
        offer: Callable[[Progress], None],
        every: float,
        pulse: Pulse | None = None,
        reached: int | None = None,
        meter: Meter | None = None,
        trackers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> None:
        self.progress = Progress(start_step=known, last_step=known, durable_step=known)
        self.pulse = pulse or Pulse()
        self._durable_seen: int | None = None
        self._reached = reached
        self._meter = meter
        self._trackers = trackers
        self._number = number
        self._offer = offer
        self._every = every
        self._printed = -every
        self._recorded = -_RECORD_SECONDS

    def handle(self, event: Mapping[str, Any]) -> None:
        """Take one event; kinds that are not about progress are passed over."""
        if event["event"] == "step":
            self._step(event)
        elif event["event"] == "restored":
            self._restored(event)
        elif event["event"] == "durable":
            step = int(event["step"])
            if self._durable_seen == step:
                return  # the writer has reported it, and so does the trainer
            self._durable_seen = step
            self._update(
                durable_step=max(step, self.progress.durable_step),
                last_step=max(step, self.progress.last_step),
            )
            log.line(
                "checkpoint", attempt=self._number, step=step, seconds=event.get("seconds"),
                bytes=event.get("bytes"),
            )  # fmt: skip
            self._put()
        elif event["event"] == "gpu" and self._meter is not None:
            self._meter.note(event)
        elif event["event"] == "save-failed":
            shown = {key: event.get(key) for key in ("step", "message")}
            log.line("save-failed", attempt=self._number, **shown)
        elif event["event"] == "pace":
            self._update(
                save_cost=event.get("cost"), save_seconds=event.get("seconds"),
                interval=event.get("interval"),
            )  # fmt: skip
            self._put()
        elif event["event"] == "alive":
            self.pulse.alive(time.monotonic())
        elif event["event"] == "trackers" and self._trackers is not None:
            self._trackers(event["ids"])

    def last(self) -> Progress:
        """Return how far it came, with what it used until now."""
        self._update()
        return self.progress

    def beat(self) -> None:
        """Record now and then that the attempt lives: what a killed one cost is known by that."""
        if time.monotonic() - self._recorded >= _BEAT_SECONDS:
            self._update()
            self._put()

    def _restored(self, event: Mapping[str, Any]) -> None:
        step, seconds = int(event["step"]), event.get("seconds")
        redone = None if self._reached is None else max(self._reached - step, 0)
        self._update(
            start_step=step, last_step=step, durable_step=step, steps=0, restore_seconds=seconds,
            redone=redone,
        )  # fmt: skip
        log.line("restored", attempt=self._number, step=step, seconds=seconds, redone=redone)
        self._put()

    def _step(self, event: Mapping[str, Any]) -> None:
        step, now = int(event["step"]), time.monotonic()
        is_first = self.progress.first_step_at is None
        first = self.progress.first_step_at or time.time()
        self._update(
            last_step=step,
            steps=max(step - self.progress.start_step, 0),
            total=event.get("total"),
            first_step_at=first,
        )
        self.pulse.step(now, step)
        if now - self._printed >= self._every or step == event.get("total"):
            self._printed = now
            shown = {key: event[key] for key in ("epoch", "metrics") if key in event}
            log.line("progress", attempt=self._number, step=step, total=event.get("total"), **shown)
        if is_first or now - self._recorded >= _RECORD_SECONDS:
            self._put()

    def _update(self, **changes: Any) -> None:
        changes["silence"] = round(self.pulse.longest, 1)
        gpu = self._meter.usage() if self._meter else None
        self.progress = replace(self.progress, updated=time.time(), gpu=gpu, **changes)

    def _put(self) -> None:
        self._recorded = time.monotonic()
        self._offer(self.progress)
