"""The error tree of gpukit.

GpukitError                 1   anything that a person has to act on
├── UsageError              2   the command line or an argument of the API is wrong
│   └── SpecError           2   a value of ``@gpu_job``, a profile, a quantity is wrong
│       └── PlacementError  2   the spec is fine, but no pod can be made of it on this platform
├── JobFileError            2   the job file cannot be found, imported or shipped
├── BudgetError             3   a budget would be exceeded, or a check has findings
├── RunFailedError          4   the run ended without success
├── WaitTimeoutError        5   the run still goes on when the waiting ends
├── ClusterError            1   the cluster cannot be reached, or does not allow it
├── CheckpointError         1   a checkpoint cannot be written, read or trusted
└── StoreError              1   the place where checkpoints live cannot be used

Every error has an ``id`` (stable, for scripts and the docs), a ``message`` (what is wrong, and
where) and a ``hint`` (what to do). Standard library only: it is imported inside pods.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BudgetError",
    "CheckpointError",
    "ClusterError",
    "GpukitError",
    "JobFileError",
    "PlacementError",
    "RunFailedError",
    "SpecError",
    "StoreError",
    "UsageError",
    "WaitTimeoutError",
    "did_you_mean",
]

_LONGEST = 2000


class GpukitError(Exception):
    """An error for a person: what is wrong, where, and what to do.

    Args:
        id: stable name of the kind of error, kebab-case, for example ``profile-unknown``.
        message: what is wrong and where, one sentence without a full stop at its end.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, id: str, message: str, hint: str) -> None:
        if len(message) > _LONGEST:  # it repeats a value that nobody wants to read
            message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"
        super().__init__(message)
        self.id = id
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[GpukitError], tuple[str, str, str]]:
        return type(self), (self.id, self.message, self.hint)


class UsageError(GpukitError):
    """The command line, or an argument of a Python call, is wrong."""

    exit_code = 2


class SpecError(UsageError):
    """A value of a job's declaration is wrong."""


class PlacementError(SpecError):
    """The declaration is valid, but no pod on this platform can satisfy it."""


class JobFileError(GpukitError):
    """The job file cannot be found, imported or shipped."""

    exit_code = 2


class BudgetError(GpukitError):
    """A budget would be exceeded, or a check has findings."""

    exit_code = 3


class RunFailedError(GpukitError):
    """The run ended without success."""

    exit_code = 4


class WaitTimeoutError(GpukitError):
    """The run still goes on when the waiting ends."""

    exit_code = 5


class ClusterError(GpukitError):
    """The cluster cannot be reached, or does not allow what was asked."""


class CheckpointError(GpukitError):
    """A checkpoint cannot be written, read or trusted."""


class StoreError(GpukitError):
    """The place where checkpoints live cannot be used."""


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """Return ``did you mean 'x'?`` for the nearest of ``known``, else ``otherwise``."""
    spelled = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    if not near:
        return otherwise
    return f"did you mean {spelled[near[0]]!r}?" + (f" {otherwise}" if otherwise else "")
