"""The local Job controller: starts attempts, interrupts them, and acts on how they end.

It does with subprocesses what Kubernetes does with the rendered Job: the same exit codes lead
through :func:`gpukit.ladder.next_move` to the same next attempt, completion indexes are counted
and burned alike, and ``max_preemptions`` ends the run as ``maxFailedIndexes`` would.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gpukit.ladder import backoff_seconds, next_move
from gpukit.runtime.record import RunRecord
from gpukit.runtime.store import DirectoryStore

from .directory import RunDirectory
from .pod import Pod, start_pod
from .progress import LogProgress
from .simulate import Interruption, Simulation

__all__ = ["Controller", "Phase", "StopRequest"]

Phase = Literal["succeeded", "failed", "interrupted"]

_POLL_SECONDS = 0.05
_BACKOFF_BASE = 1.0  # Kubernetes begins with 10 s; nobody waits for that at a desk
_START_PATIENCE = 60.0
"""A job that reports no steps is interrupted this long after the time that was asked for."""


@dataclass
class StopRequest:
    """What the person wants: nothing (0), a clean stop (1), or an end at once (2)."""

    level: int = 0

    def clean(self, *_: object) -> None:
        """Ask for a clean stop; usable as a signal handler."""
        self.level = max(self.level, 1)

    def at_once(self, *_: object) -> None:
        """Ask for the end; usable as a signal handler."""
        self.level = 2


@dataclass(frozen=True)
class _Ended:
    code: int
    disrupted: bool
    began: bool  # it got as far as the run record
    stopped: bool  # the person asked for it


@dataclass
class Controller:
    """Drives one submission of a run to its end.

    Args:
        directory: the run; its lock is held by the caller.
        declared: the ``env`` list of the rendered container.
        submitted_at: unix seconds of this submission.
        simulation: when to interrupt; None for never.
        stop: looked at all the time.
        environ: the environment that secrets are taken from; None for that of this process.
    """

    directory: RunDirectory
    declared: Sequence[Mapping[str, Any]]
    submitted_at: float
    simulation: Simulation | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    environ: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        self.task = self.directory.task()
        self.record = RunRecord(DirectoryStore(self.directory.store))
        self.interruptions = 0
        self.burned = 0
        self.stillborn = 0

    def run(self) -> Phase:
        """Run attempts until the run ends, and return how."""
        index = failures = 0
        while True:
            ended = self._attempt(index)
            self.stillborn = 0 if ended.began else self.stillborn + 1
            move = next_move(ended.code, disrupted=ended.disrupted)
            if move == "complete":
                return self._end("succeeded")
            if move == "fail":
                return self._end("failed")  # the pod has said why
            if ended.stopped:
                return self._end("interrupted", "stopped")
            if self.stillborn > self.task.retries:
                return self._end("failed", "the attempts ended before your code could start")
            if move == "next":
                index, failures = index + 1, 0
                self.burned += 1
                if self.burned > self.task.max_preemptions:
                    return self._end(
                        "failed", f"max_preemptions={self.task.max_preemptions} used up"
                    )
            else:
                failures += 1
                self._back_off(failures)
            if self.stop.level:
                return self._end("interrupted", "stopped")

    def _attempt(self, index: int) -> _Ended:
        number = max((a.number for a in self.record.attempts()), default=0) + 1
        offset = self.directory.log_size(number)  # a pod that did not begin wrote there too
        pod = start_pod(
            self.directory, number, index, self.declared, self.submitted_at, self.environ
        )
        self.directory.record_event(
            "started", attempt=number, index=index, pod=pod.name, uid=pod.uid,
            pid=pod.process.pid, log_offset=offset,
        )  # fmt: skip
        progress = LogProgress(self.directory.log(number), offset)
        try:
            disrupted = self._watch(pod, number, progress)
        finally:
            code = pod.destroy()
        stopped = self.stop.level > 0
        progress.read()
        self.directory.record_event(
            "exited", attempt=number, code=code, disrupted=disrupted, uid=pod.uid,
            first_step_at=progress.first_step_at, last_step=progress.last_step,
            message=self._termination(number),
        )  # fmt: skip
        return _Ended(code, disrupted, progress.began, stopped)

    def _watch(self, pod: Pod, number: int, progress: LogProgress) -> bool:
        """Wait for the pod's end; tell whether the machine, not the job, ended it."""
        planned = self.simulation.interruption(self.interruptions) if self.simulation else None
        while not _ended(pod):
            if self.stop.level:
                self.directory.record_event("notice", attempt=number, kind="stop")
                self._grace(pod, number)
                return False
            if planned is None:
                continue
            progress.read()
            if _due(pod, progress, planned):
                return self._interrupt(pod, number, planned)
        return False

    def _interrupt(self, pod: Pod, number: int, planned: Interruption) -> bool:
        self.interruptions += 1
        self.directory.record_event(
            "notice", attempt=number, kind=planned.kind, grace=self.task.grace, simulated=True
        )
        if planned.kind == "preemption":
            self._grace(pod, number)
        return True

    def _grace(self, pod: Pod, number: int) -> None:
        pod.terminate()
        until = time.monotonic() + self.task.grace
        while not _ended(pod):
            if time.monotonic() >= until or self.stop.level > 1:
                self.directory.record_event("killed", attempt=number, grace=self.task.grace)
                return

    def _back_off(self, failures: int) -> None:
        wait = backoff_seconds(failures, base=_BACKOFF_BASE)
        self.directory.record_event("waiting", seconds=wait)
        until = time.monotonic() + wait
        while time.monotonic() < until and not self.stop.level:
            time.sleep(_POLL_SECONDS)

    def _end(self, phase: Phase, reason: str = "") -> Phase:
        self.directory.record_event("ended", phase=phase, reason=reason)
        return phase

    def _termination(self, number: int) -> object:
        try:
            return json.loads(self.directory.termination_log(number).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _ended(pod: Pod) -> bool:
    """Wait a moment for the pod; tell whether it has ended."""
    try:
        pod.process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _due(pod: Pod, progress: LogProgress, planned: Interruption) -> bool:
    in_steps = planned.unit == "steps"
    if progress.first_step_at is None:
        later = 0.0 if in_steps else planned.after
        return time.monotonic() >= pod.started + _START_PATIENCE + later
    if in_steps:
        return progress.steps >= planned.after
    return time.time() >= progress.first_step_at + planned.after
