"""What a run was seen to use of its GPUs, on this machine or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from gpukit.contract import Task
from gpukit.errors import UsageError
from gpukit.runtime.usage import Usage, merged

from .cluster_run import ClusterRun
from .handle import Run
from .local_run import LocalRun

__all__ = ["Measured", "measured_run"]


@dataclass(frozen=True)
class Measured:
    """A run's use of its GPUs, and what they cost.

    Attributes:
        usage: the peaks over all attempts.
        seconds: running time of all attempts.
        price: US dollars per hour that it paid; None where unknown.
        on_demand: what it would pay without spot.
        spot: it may run on spot capacity.
    """

    usage: Usage
    seconds: float
    price: Decimal | None
    on_demand: Decimal | None
    spot: bool


def measured_run(run: Run) -> Measured:
    """Return what a run used.

    Raises:
        UsageError: it has not run, or nobody could look at a GPU.
    """
    attempts = run.attempts()
    usage = merged(attempt.progress.gpu for attempt in attempts)
    if usage is None:
        raise UsageError(
            "fit-not-measured", f"{run.name}: nothing is known of a GPU that it used",
            "a run on a GPU tells when its attempt ends; one on a CPU has nothing to tell. "
            "`gpukit fit FILE::FACTORY` estimates it",
        )  # fmt: skip
    task = _task_of(run)
    return Measured(
        usage, sum(attempt.seconds for attempt in attempts),
        _decimal(task.price_per_hour if task else None),
        _decimal(task.on_demand_per_hour if task else None), bool(task and task.spot),
    )  # fmt: skip


def _task_of(run: Run) -> Task | None:
    if isinstance(run, LocalRun):
        return run.directory.task()
    job = run.job() if isinstance(run, ClusterRun) else None
    return job.task if job is not None else None


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
