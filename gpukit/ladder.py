"""The attempt ladder: how the end of an attempt leads to the next one, or to the end of the run.

Kubernetes' side of it is an Indexed Job in which each attempt is an index
(``docs/explanation/attempt-ladder.md``); the renderer writes these exit codes into its
``podFailurePolicy``, the runtime leaves with them, and the local backend acts on them as the
Job controller would. Pure, standard library only.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "FAIL_INDEX_CODES", "FAIL_JOB_CODES", "STORM_SECONDS", "Cause", "ExitCode", "PastAttempt",
    "Verdict", "admit", "backoff_seconds", "exit_code_of", "next_move",
]  # fmt: skip


class ExitCode(enum.IntEnum):
    """What the pod's exit code says to the Job controller."""

    FINISHED = 0
    CRASH = 1
    PERMANENT = 64
    PREEMPTED = 75  # checkpointed; start the next attempt at once
    PREEMPTED_NO_PROGRESS = 76  # Kubernetes is to back off, or this becomes a storm
    HANG = 77


FAIL_JOB_CODES = (int(ExitCode.PERMANENT),)
FAIL_INDEX_CODES = (int(ExitCode.PREEMPTED),)

STORM_SECONDS = 60.0
"""An attempt that made no progress may leave with 75 only after it lived this long; else a spot
notice that stays visible makes a loop of it (21 attempts in 23 s on a real Job controller)."""

_BACKOFF_BASE = 10.0
_BACKOFF_CAP = 600.0


class Cause(str, enum.Enum):
    """Why an attempt ended."""

    FINISHED = "finished"
    CRASH = "crash"
    PERMANENT = "permanent"
    PREEMPTED = "preempted"
    HANG = "hang"
    LOST = "lost"  # started and left no end record: SIGKILL, OOM kill of the pod, node loss
    CANCELLED = "cancelled"
    BUDGET = "budget"


CHARGED = frozenset({Cause.CRASH, Cause.HANG, Cause.LOST})
"""The causes that are charged to ``retries``. A lost attempt is charged unless the backend or
Kubernetes has said that it was a disruption (then it is recorded as preempted)."""


@dataclass(frozen=True)
class PastAttempt:
    """What the run record says of an attempt that started.

    Attributes:
        cause: why it ended; LOST where it has a start record only.
        error: digest of its traceback; the same twice without progress between is permanent.
        start_step: the step that it began at.
        end_step: the newest durable step when it ended.
        seconds: how long it ran.
    """

    cause: Cause
    error: str | None = None
    start_step: int = 0
    end_step: int = 0
    seconds: float = 0.0

    @property
    def progressed(self) -> bool:
        """Tell whether a newer step was durable at its end than at its start."""
        return self.end_step > self.start_step


@dataclass(frozen=True)
class Verdict:
    """Whether a new attempt may run; if not, the exit code to leave with, and why."""

    run: bool
    code: ExitCode = ExitCode.FINISHED
    reason: str = ""


def admit(
    past: Sequence[PastAttempt],
    *,
    finished: bool,
    retries: int,
    timeout: float | None = None,
    spent: float | None = None,
    max_cost: float | None = None,
    since_submit: float = 0.0,
    deadline: float | None = None,
) -> Verdict:
    """Judge, before an attempt starts, whether the run's budgets allow it.

    Args:
        past: the attempts that started, oldest first.
        finished: the end marker is durable; the attempt leaves with 0 at once.
        retries: how many charged ends are allowed.
        timeout: seconds of running time over all attempts.
        spent: US dollars so far; None where the price is unknown.
        max_cost: US dollars allowed.
        since_submit: seconds since the first submission.
        deadline: seconds allowed since the first submission.
    """
    if finished:
        return Verdict(False, ExitCode.FINISHED, "the run has already finished")
    charged = [a for a in past if a.cause in CHARGED]
    if past and past[-1].cause is Cause.PERMANENT:
        return Verdict(False, ExitCode.PERMANENT, "the last attempt ended for good")
    if len(charged) > retries:
        return Verdict(
            False,
            ExitCode.PERMANENT,
            f"retries={retries} used up: {len(charged)} attempts ended by "
            + ", ".join(sorted({a.cause.value for a in charged})),
        )
    if repeats_without_progress(past):
        return Verdict(
            False, ExitCode.PERMANENT, "the same error came twice without progress between"
        )
    ran = sum(a.seconds for a in past)
    if timeout is not None and ran >= timeout:
        return Verdict(False, ExitCode.PERMANENT, f"timeout used up: ran {ran:.0f} s")
    if deadline is not None and since_submit >= deadline:
        return Verdict(
            False, ExitCode.PERMANENT, f"deadline passed {since_submit - deadline:.0f} s ago"
        )
    if max_cost is not None and spent is not None and spent >= max_cost:
        return Verdict(False, ExitCode.PERMANENT, f"max_cost used up: ${spent:.2f} spent")
    return Verdict(True)


def repeats_without_progress(past: Sequence[PastAttempt]) -> bool:
    """Tell whether the last two crashes have the same traceback and no progress between.

    Interruptions in between do not matter; a newer durable step does.
    """
    crashes = [i for i, a in enumerate(past) if a.cause is Cause.CRASH and a.error]
    if len(crashes) < 2:
        return False
    first, second = crashes[-2:]
    return past[first].error == past[second].error and past[second].end_step <= past[first].end_step


def exit_code_of(cause: Cause, *, progressed: bool, seconds: float) -> ExitCode:
    """Return the pod's exit code for an attempt's end (the storm breaker is here).

    Args:
        cause: why the attempt ended.
        progressed: a newer step is durable than when the attempt began.
        seconds: how long the attempt lived.
    """
    if cause is Cause.FINISHED:
        return ExitCode.FINISHED
    if cause in (Cause.PERMANENT, Cause.BUDGET, Cause.CANCELLED):
        return ExitCode.PERMANENT
    if cause is Cause.HANG:
        return ExitCode.HANG
    if cause is Cause.PREEMPTED:
        calm = progressed or seconds >= STORM_SECONDS
        return ExitCode.PREEMPTED if calm else ExitCode.PREEMPTED_NO_PROGRESS
    return ExitCode.CRASH


def next_move(code: int, *, disrupted: bool) -> str:
    """Return what the Job controller does after a pod: complete, fail, next or retry.

    Args:
        code: the exit code of the pod, negative or above 128 for a signal.
        disrupted: the pod has the DisruptionTarget condition.

    Returns:
        ``"complete"``; ``"fail"`` (FailJob); ``"next"`` (FailIndex: the next index starts at
        once); ``"retry"`` (the same index again, after a back-off). The rules are read in the
        order of the rendered ``podFailurePolicy``.
    """
    if code == ExitCode.FINISHED:
        return "complete"
    if code in FAIL_JOB_CODES:
        return "fail"
    if disrupted or code in FAIL_INDEX_CODES:
        return "next"
    return "retry"


def backoff_seconds(failures: int, *, base: float = _BACKOFF_BASE) -> float:
    """Return the Job controller's wait before retry number ``failures`` of an index.

    10 s · 2^(n-1), at most 600 s (kubernetes ``pkg/controller/job/backoff_utils.go``).
    """
    return float(min(base * 2 ** (max(failures, 1) - 1), _BACKOFF_CAP / _BACKOFF_BASE * base))
