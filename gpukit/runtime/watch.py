"""Watch the trainers until they have left: signals in, events in, limits kept, one ending out."""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from gpukit.contract import Task
from gpukit.ladder import Cause

from . import log
from .budget import Budget
from .context import stop_budget
from .ending import Ending, oom_kills
from .launch import Trainer
from .processes import reap
from .progress import Tracker
from .signals import STOP_SIGNALS, SignalPipe
from .writing import WriterHost

__all__ = ["Watch"]

_TICK = 1.0  # how often the budgets are looked at
_LINGER = 60.0  # for atexit hooks and uploads of libraries, after the function has ended
_PEERS = 5.0  # for the other ranks, after one has failed
_HANG_GRACE = 10.0  # at least; a job whose saves take longer gets the time of two
_STACKS = 0.3  # for one rank to write its stacks before the next one does
_LAST_CALL = 5.0  # before the kill, where nobody knows how long a save takes
_DRAIN = 120.0  # for the checkpoint in flight, after the trainers have left
_UNKILLABLE = 10.0  # a process in a dead network mount or driver is not waited for longer


class Watch:
    """The supervisor's loop over the trainers of one attempt.

    Args:
        task: its limits count here.
        signals: where SIGTERM and SIGCHLD arrive.
        tracker: follows rank 0.
        budget: what may still be used.
        finish: makes the result durable; returns why it could not, or None.
        writer: of checkpoints; it outlives the trainers.
    """

    def __init__(
        self,
        task: Task,
        signals: SignalPipe,
        tracker: Tracker,
        budget: Budget,
        finish: Callable[[Any], Ending | None],
        writer: WriterHost | None = None,
    ) -> None:
        self._task = task
        self._signals = signals
        self._tracker = tracker
        self._budget = budget
        self._finish = finish
        self._writer = writer
        self._leave_by: float | None = None
        self._trainers: list[Trainer] = []
        self._began = time.monotonic()
        self._oom_kills = oom_kills()
        self._ending: Ending | None = None  # the first reason to end; it stays
        self._finished = False

    def run(self, start: Callable[[], list[Trainer]]) -> Ending:
        """Start the trainers, watch them until all have left, and say why the attempt ended."""
        self._take_signals()
        if self._ending is None:
            self._trainers = start()
        while any(trainer.running for trainer in self._trainers):
            self._sleep()
            self._take_events()
            self._take_exits()
            self._take_signals()  # last: what trainers said before it is passed on came of itself
            self._tracker.beat()
            self._check_limits()
            self._call_and_kill()
        for trainer in self._trainers:
            trainer.reader.close()
        if self._writer is not None:
            self._drain(self._writer)
        return self._conclusion()

    def _drain(self, writer: WriterHost) -> None:
        """Let the writer finish what the trainers have handed over, while there is time."""
        writer.finish()
        patience = time.monotonic() + _DRAIN
        while writer.running:
            end = patience if self._leave_by is None else min(patience, self._leave_by)
            left = end - time.monotonic()
            if left <= 0:
                log.say("a checkpoint was not durable in time")
                return
            select.select([self._signals.handle, *writer.handles], [], [], min(left, _TICK))
            self._track(writer.take_events())
            self._track(writer.left(reap()))
            self._take_signals()

    def _track(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self._tracker.handle(event)

    def _sleep(self) -> None:
        now = time.monotonic()
        moments = [m for t in self._trainers if t.running for m in (t.last_call_at, t.kill_at)]
        due = [moment - now for moment in moments if moment is not None and moment > now]
        handles = [t.reader.handle for t in self._trainers if t.running]
        if self._writer is not None:
            handles += self._writer.handles
        ready, _, _ = select.select([self._signals.handle, *handles], [], [], min([_TICK, *due]))
        if self._writer is not None:
            self._writer.attend(ready)

    def _take_signals(self) -> None:
        if STOP_SIGNALS & self._signals.arrived():
            self._stop(Ending(Cause.PREEMPTED, "SIGTERM"), stop_budget(self._task.grace))

    def _take_events(self) -> None:
        for trainer in self._trainers:
            for event in trainer.take_events():
                if trainer.state.rank == 0 or event["event"] == "gpu":
                    self._tracker.handle(event)
            self._look_for_failure(trainer)
        if self._writer is not None:
            self._track(self._writer.take_events())
        self._look_for_finish()

    def _take_exits(self) -> None:
        ended = reap()
        for trainer in self._trainers:
            if trainer.process.pid in ended:
                trainer.left(ended[trainer.process.pid])
        if self._writer is not None:
            self._track(self._writer.left(ended))
        if ended:
            self._take_events()  # what they said last

    def _look_for_failure(self, trainer: Trainer) -> None:
        failure = trainer.state.failure(oom_kills() > self._oom_kills)
        if failure is None or self._ending is not None or self._finished:
            return
        self._ending = failure
        now = time.monotonic()
        trainer.kill_by(now + _LINGER)
        for peer in self._trainers:
            if peer is not trainer:
                peer.kill_by(now + _PEERS)
                peer.signal(signal.SIGTERM)

    def _look_for_finish(self) -> None:
        states = [trainer.state for trainer in self._trainers]
        if self._finished or not states or not all(state.finished for state in states):
            return
        if self._ending and not all(state.said.get("sure", True) for state in states):
            return  # it returned because it was told to stop: nobody can say that it is done
        failure = self._finish(states[0].said.get("result"))
        self._finished = failure is None
        self._ending = failure or Ending(Cause.FINISHED, "")
        for trainer in self._trainers:
            trainer.kill_by(time.monotonic() + _LINGER)

    def _check_limits(self) -> None:
        if self._ending is not None:
            return
        now = time.monotonic()
        over = self._budget.exceeded(time.time(), now - self._began)
        if over:
            self._stop(Ending(Cause.BUDGET, over), stop_budget(self._task.grace))
        elif self._tracker.pulse.hangs(now):
            self._end_hang(self._tracker.pulse.silence(now))

    def _end_hang(self, silence: float) -> None:
        """Show where every thread of every rank is; leave time for a last save."""
        for trainer in self._trainers:
            who = f" of rank {trainer.state.rank}" if len(self._trainers) > 1 else ""
            log.say(f"no step for {silence:.0f} s; the stacks{who} follow")
            trainer.signal(signal.SIGUSR2)
            time.sleep(_STACKS)
        limit = self._task.hang_timeout
        known = "" if limit is None else f" for hang_timeout={limit} s"
        reason = f"no step{known or f' for {silence:.0f} s'}; the stacks are in the log"
        save = self._tracker.progress.save_seconds or 0.0
        self._stop(Ending(Cause.HANG, reason), max(_HANG_GRACE, 2 * save + _LAST_CALL))

    def _stop(self, ending: Ending, patience: float) -> None:
        """Ask all trainers to leave; a second request changes nothing but the deadline."""
        first = self._ending is None
        self._leave_by = min(self._leave_by or float("inf"), time.monotonic() + patience)
        self._ending = self._ending or ending
        for trainer in self._trainers:
            trainer.kill_by(time.monotonic() + patience)
            if first:
                trainer.signal(signal.SIGTERM)
                trainer.last_call_at = time.monotonic() + patience - self._reserve(patience)
        if first:
            log.say(f"{ending.reason}: stopping, at most {patience:.0f} s")

    def _reserve(self, patience: float) -> float:
        """Return the seconds before the kill at which a trainer is told to wait no longer."""
        save = self._tracker.progress.save_seconds
        return min(_LAST_CALL if save is None else 1.0 + 1.5 * save, patience / 2)

    def _call_and_kill(self) -> None:
        now = time.monotonic()
        for trainer in self._trainers:
            if trainer.last_call_at is not None and now >= trainer.last_call_at:
                trainer.last_call_at = None
                trainer.signal(signal.SIGTERM)  # the second one: no safe point came in time
            if not trainer.running or trainer.kill_at is None or now < trainer.kill_at:
                continue
            trainer.signal(signal.SIGKILL)
            if now >= trainer.kill_at + _UNKILLABLE:
                log.say(f"process {trainer.process.pid} does not die: it waits in the kernel")
                trainer.left(-signal.SIGKILL)

    def _conclusion(self) -> Ending:
        ending = self._ending or Ending(Cause.CRASH, "the trainers left without a word")
        if ending.cause is not Cause.PREEMPTED or not self._trainers:
            return ending
        state = self._trainers[0].state
        said, failure = state.said.get("event"), state.failure()
        if said in ("crashed", "fatal") and failure:
            return replace(
                failure, cause=ending.cause, reason=f"{ending.reason}; then {failure.reason}"
            )
        words = {"stopped": "stopped at a safe point", "finished": _UNSURE}
        text = words.get(str(said), "did not stop in time" if state.exit_code == -9 else "left")
        return replace(ending, reason=f"{ending.reason}; {text}")


_UNSURE = (
    "the function returned after it, with a handler of its own or after it caught gpukit's: "
    "taken for unfinished"
)
