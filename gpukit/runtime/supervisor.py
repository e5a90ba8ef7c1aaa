"""The supervisor, pid 1 of the pod: may this attempt run, and how did it end.

It owns what must outlive the user's process: the run record, the signals, the exit code and the
termination message. The exit code tells Kubernetes what to do next (:mod:`gpukit.ladder`).
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpukit.contract import Task
from gpukit.errors import GpukitError, StoreError
from gpukit.ladder import Cause, ExitCode, Verdict, exit_code_of

from . import log, outputs, termination, trackers
from .beginnings import prepare_store
from .budget import Budget
from .ending import Ending
from .environment import Environment, termination_log
from .hang import Pulse
from .history import history_of
from .keeper import LogKeeper
from .launch import Trainer, launch
from .processes import become_reaper, kill_descendants
from .progress import ProgressWriter, Tracker
from .record import (
    About,
    Attempt,
    End,
    Progress,
    Result,
    RunRecord,
    Start,
    since_submission,
)
from .relay import Relay
from .signals import SignalPipe
from .usage import Meter
from .watch import Watch
from .writing import open_host

__all__ = ["main"]

_PATIENCE = 5.0  # for the last progress where the store is slow, and for the last output
_HISTORY = 100  # earlier attempts that the log's first line tells of; then it is of a few KiB
_TRIES = 4  # a result is worth hours
_TRANSIENT = ("store-unusable", "store-create", "store-shared")


class Supervisor:
    """One attempt, from the record before it to its exit code.

    Args:
        environment: where everything is.
        environ: what the trainers inherit.
        task: what to run.
        record: the run so far.
        log_file: where the termination message goes.
    """

    def __init__(
        self,
        environment: Environment,
        environ: Mapping[str, str],
        task: Task,
        record: RunRecord,
        log_file: Path | None,
    ) -> None:
        self._environment = environment
        self._environ = environ
        self._task = task
        self._record = record
        self._log_file = log_file
        self._earlier: list[Attempt] = []
        self._budget = Budget(task, (), 0.0)
        self._start = Start()
        self._result: Any = None
        self._keeper: LogKeeper | None = None
        self._tracked: dict[str, str] = {}

    def run(self, signals: SignalPipe) -> ExitCode:
        """Run the attempt, or refuse to; return the pod's exit code.

        Raises:
            GpukitError: the store cannot be used before the attempt has begun.
        """
        self._read_record()
        result = self._record.result()
        verdict = self._budget.admit(self._start.started, finished=result is not None)
        if not verdict.run:
            return self._refuse(verdict, result)
        self._begin()
        writer = ProgressWriter(self._record, self._start.number)
        meter = Meter(self._environ)
        tracker = self._tracker(writer, meter)
        ending = self._watch(signals, tracker)
        meter.close()
        progress = tracker.last()
        writer.offer(progress)
        writer.close(_PATIENCE)
        return self._close(ending, progress)

    def _read_record(self) -> None:
        env, now = self._environment, time.time()
        if env.submitted_at is not None:
            self._record.mark_submission(env.submitted_at)
        self._start = Start(0, env.pod_uid, env.pod, env.node, env.index, now, env.owner)
        self._earlier = self._record.attempts(self._start)
        submissions = self._record.submissions()
        known = self._record.trackers()
        self._tracked = trackers.environment(self._task.run, self._earlier, known, now)
        counted = since_submission(self._earlier, submissions)
        first = counted[0].start.started if counted else now
        submitted = env.submitted_at or (submissions[-1].time if submissions else first)
        self._budget = Budget(self._task, tuple(a.past() for a in counted), submitted)

    def _begin(self) -> None:
        task = self._task
        about = About(
            task.run, task.job, task.spot, task.price_per_hour, task.on_demand_per_hour,
            task.checkpoint_every,
        )  # fmt: skip
        self._record.put_about(about)
        number = self._record.begin(self._start)
        self._start = replace(self._start, number=number)
        self._keeper = LogKeeper(self._record.store, number)
        log.keep(self._keeper.offer)
        log.line(
            "attempt", run=self._task.run, attempt=number, index=self._start.index,
            pod=self._start.pod, node=self._start.node, code=self._task.code,
            totals=self._totals(self._earlier),
            attempts=[termination.row(a) for a in self._earlier[-_HISTORY:]],
        )  # fmt: skip

    def _tracker(self, writer: ProgressWriter, meter: Meter) -> Tracker:
        earlier = self._earlier
        pulse = Pulse(
            self._task.hang_timeout,
            longest=max((a.progress.silence for a in earlier), default=0.0),
            hangs=sum(a.cause is Cause.HANG for a in earlier),
        )
        known = max((a.progress.durable_step for a in earlier), default=0)
        reached = earlier[-1].progress.last_step if earlier else None
        every = self._environment.progress_seconds
        return Tracker(
            self._start.number, known, writer.offer, every, pulse, reached, meter,
            writer.offer_trackers,
        )  # fmt: skip

    def _watch(self, signals: SignalPipe, tracker: Tracker) -> Ending:
        def finish(value: Any) -> Ending | None:
            return self._finish(Result(value, tracker.progress.last_step, self._start.number))

        def start() -> list[Trainer]:
            trainers = launch(
                self._task, environ, self._start.number, history_of(self._earlier),
                None if host is None else host.path,
            )  # fmt: skip
            relays.append(Relay([trainer.output for trainer in trainers]))
            return trainers

        environ = {**self._tracked, **self._environ}
        relays: list[Relay] = []
        env = self._environment
        host = open_host(self._task, env.store, env.work, self._start.number, env.pod_uid)
        watch = Watch(self._task, signals, tracker, self._budget, finish, host)
        try:
            return watch.run(start)
        except Exception as error:  # the attempt has begun: it is to have an end
            traceback.print_exc()
            return Ending(Cause.CRASH, f"gpukit's supervisor failed: {_words(error)}")
        finally:
            if host is not None:
                host.close()
            kill_descendants()
            for relay in relays:
                relay.close(_PATIENCE)

    def _finish(self, result: Result) -> Ending | None:
        """Make outputs and end marker durable; only then may the pod leave with 0."""
        for attempt in range(_TRIES):
            time.sleep(2.0**attempt - 1)
            try:
                outputs.upload(self._record.store, self._environment)
                self._record.put_result(replace(result, finished=time.time()))
                self._result = result.value
                return None
            except StoreError as error:
                log.say(str(error))
                failure = error
        return Ending(Cause.CRASH, f"finished, but that cannot be stored: {failure.message}")

    def _close(self, ending: Ending, progress: Progress) -> ExitCode:
        now = time.time()
        seconds = now - self._start.started
        progressed = progress.durable_step > progress.start_step
        code = exit_code_of(ending.cause, progressed=progressed, seconds=seconds)
        code, reason = self._last_word(code, ending, progress, now)
        end = End(ending.cause, int(code), reason, ending.error, now, ending.traceback)
        self._tell(Attempt(self._start, progress, end, ending.cause))
        log.line(
            "end", run=self._task.run, attempt=self._start.number, cause=ending.cause.value,
            exit_code=int(code), reason=reason, step=progress.last_step,
            durable_step=progress.durable_step, steps=progress.steps, seconds=round(seconds, 1),
        )  # fmt: skip
        try:
            self._record.put_end(self._start.number, end)
            if ending.cause is not Cause.FINISHED:
                outputs.upload(self._record.store, self._environment)
        except StoreError as error:
            log.say(str(error))
        if self._keeper is not None:
            self._keeper.close(_PATIENCE)
        return code

    def _last_word(
        self, code: ExitCode, ending: Ending, progress: Progress, now: float
    ) -> tuple[ExitCode, str]:
        """Say now what the next attempt would be refused for: it would need a pod to say it."""
        if code in (ExitCode.FINISHED, ExitCode.PERMANENT):
            return code, ending.reason
        end = End(ending.cause, int(code), ending.reason, ending.error, now)
        attempt = Attempt(self._start, progress, end, ending.cause)
        verdict = replace(self._budget, past=(*self._budget.past, attempt.past())).admit(
            now, finished=False
        )
        if verdict.run:
            return code, ending.reason
        return verdict.code, f"{ending.reason}; no further attempt: {verdict.reason}"

    def _refuse(self, verdict: Verdict, result: Result | None) -> ExitCode:
        cause = Cause.FINISHED if verdict.code == ExitCode.FINISHED else Cause.PERMANENT
        log.say(f"no further attempt: {verdict.reason}")
        log.line(
            "end", run=self._task.run, attempt=None, cause=cause.value,
            exit_code=int(verdict.code), reason=verdict.reason,
        )  # fmt: skip
        message = termination.Message(
            self._task.run, cause, int(verdict.code), verdict.reason,
            step=result.step if result else 0, totals=self._totals(self._earlier),
            attempts=self._earlier, result=result.value if result else None,
        )  # fmt: skip
        termination.write(self._log_file, message)
        return verdict.code

    def _tell(self, attempt: Attempt) -> None:
        """Write the termination message, before a store that may be gone is waited for."""
        progress, end = attempt.progress, attempt.end or End()
        everything = [*self._earlier, attempt]
        message = termination.Message(
            self._task.run, attempt.cause, end.exit_code, end.reason, attempt.number,
            progress.last_step, progress.durable_step, progress.steps, attempt.seconds,
            self._totals(everything), everything, self._result,
        )  # fmt: skip
        termination.write(self._log_file, message)

    def _totals(self, attempts: list[Attempt]) -> dict[str, Any]:
        return termination.totals(attempts, self._budget.cost(sum(a.seconds for a in attempts)))


def main() -> int:
    """Supervise one attempt; return the pod's exit code, and leave a message in any case."""
    signals = SignalPipe()
    become_reaper()
    log_file = termination_log(os.environ)
    run = ""
    try:
        environment = Environment.from_environ(os.environ)
        task = environment.task()
        run = task.run
        record = RunRecord(prepare_store(environment, os.environ))
        supervisor = Supervisor(environment, os.environ, task, record, log_file)
        return int(supervisor.run(signals))
    except GpukitError as error:
        log.say(str(error))
        cause = Cause.CRASH if error.id in _TRANSIENT else Cause.PERMANENT
        reason = f"{error.message} ({error.hint})"
    except Exception as error:  # the last one who could say anything
        traceback.print_exc()
        cause, reason = Cause.CRASH, f"gpukit's supervisor failed: {_words(error)}"
    code = exit_code_of(cause, progressed=False, seconds=0.0)
    termination.write(log_file, termination.Message(run, cause, int(code), reason))
    return int(code)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
