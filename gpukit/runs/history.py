"""Actual against estimate: what the records of earlier runs say, for the next estimate.

Local runs and runs on a cluster are not mixed: a laptop's hours and simulated interruptions say
nothing of an H100 on spot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gpukit.finops.beliefs import Gap
from gpukit.finops.calibration import Band, Coverage, Scores, coverage, score
from gpukit.finops.estimate import Estimate, Past
from gpukit.ladder import Cause
from gpukit.local.directory import RunDirectory, home_of
from gpukit.local.summary import Summary
from gpukit.runtime.record import Attempt

from .local_run import LocalRun

__all__ = ["Outcome", "Said", "outcome_of", "outcomes", "past_of", "said_before"]

_HOUR = 3600.0


@dataclass(frozen=True)
class Said:
    """What was said of a run before it began, hours; ``model`` is before correction.

    Attributes:
        hours: declared useful hours.
        billed: hours that are paid for.
        wall: from first start to end.
        model_billed: band of the model alone.
        model_wall: band of the model alone.
    """

    hours: float
    billed: Band
    wall: Band
    model_billed: Band
    model_wall: Band

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON values, for the run's directory."""
        bands = ("billed", "wall", "model_billed", "model_wall")
        return {
            "hours": self.hours,
            **{
                name: [
                    getattr(self, name).low,
                    getattr(self, name).middle,
                    getattr(self, name).high,
                ]
                for name in bands
            },
        }

    @staticmethod
    def of(hours: float, estimate: Estimate) -> Said:
        """Return what an estimate said."""
        return Said(hours, estimate.billed, estimate.wall, *estimate.model)


@dataclass(frozen=True)
class Outcome:
    """What one run took, and what had been said of it; hours.

    Attributes:
        run: its name.
        job: of which job.
        useful: hours of steps that counted; what it takes without an interruption.
        billed: hours that its pods lived.
        wall: from first start to end.
        cost: at the price that was known when it was submitted; None: unknown.
        gaps: from each attempt's start to its interruption, or to the end.
        restarts: from an attempt's start to its first step, of attempts after an interruption.
        waits: from an interruption to the next attempt's start.
        said: what was said of it; None where nothing was.
        finished: it came to its end.
    """

    run: str
    job: str
    useful: float
    billed: float
    wall: float
    cost: Decimal | None
    gaps: tuple[Gap, ...]
    restarts: tuple[float, ...]
    waits: tuple[float, ...]
    said: Said | None
    finished: bool


def said_before(about: Mapping[str, object]) -> Said | None:
    """Read what was said of a run when it was submitted; None where nothing was."""
    found = about.get("estimate")
    if not isinstance(found, Mapping):
        return None
    try:
        bands = [
            Band(*map(float, found[name]))
            for name in ("billed", "wall", "model_billed", "model_wall")
        ]
        return Said(float(found["hours"]), *bands)
    except (KeyError, TypeError, ValueError):
        return None


def outcome_of(run: LocalRun) -> Outcome | None:
    """Return what a run took; None while it goes on, or where it never got to run."""
    if run.status() == "running":
        return None
    attempts, summary = run.attempts(), run.summary()
    if not attempts or not summary.rows:
        return None
    task = run.directory.task()
    billed = sum(row.seconds for row in summary.rows)
    prices = summary.prices
    price = prices.spot if task.spot and prices.spot is not None else prices.on_demand
    return Outcome(
        run=run.name,
        job=task.job,
        useful=_useful(attempts, summary) / _HOUR,
        billed=billed / _HOUR,
        wall=summary.seconds / _HOUR,
        cost=summary.cost(price),
        gaps=_gaps(attempts, summary),
        restarts=tuple(
            row.first_step / _HOUR for row in summary.rows[1:] if row.first_step is not None
        ),
        waits=tuple(row.restart.waiting / _HOUR for row in summary.rows if row.restart),
        said=said_before(run.directory.about()),
        finished=run.record.result() is not None,
    )


def outcomes(job: str, *, home: Path | None = None) -> tuple[Outcome, ...]:
    """Return the finished local runs of a job, oldest first.

    Args:
        job: its name.
        home: the folder of local runs; default ``GPUKIT_HOME`` or ``.gpukit``.
    """
    found = sorted(_runs(job, home or home_of()), key=lambda pair: pair[0])
    return tuple(one for _, run in found if (one := outcome_of(run)) and one.finished)


def past_of(found: Sequence[Outcome], *, hours: float | None = None) -> tuple[Past, Coverage]:
    """Return what outcomes teach the next estimate, and how well the stated bands held.

    Args:
        found: of the same kind of runs.
        hours: declared useful hours, for runs of which nothing had been said.
    """
    told = [one for one in found if one.said]
    ratios = [
        one.useful / declared
        for one in found
        if (declared := one.said.hours if one.said else hours) and one.useful > 0
    ]
    billed = [score(one.said.model_billed, one.billed) for one in told if one.said]
    wall = [score(one.said.model_wall, one.wall) for one in told if one.said]
    past = Past(
        ratios=tuple(ratios),
        restarts=tuple(r for one in found for r in one.restarts if r > 0),
        waits=tuple(w for one in found for w in one.waits if w > 0),
        gaps=tuple(gap for one in found for gap in one.gaps),
        scores=Scores(tuple(billed), tuple(wall)),
    )
    held = coverage([one.said.wall for one in told if one.said], [one.wall for one in told])
    return past, held


def _runs(job: str, home: Path) -> Iterator[tuple[float, LocalRun]]:
    for path in (home / "runs").glob("*/events.jsonl"):
        directory = RunDirectory(home, path.parent.name)
        try:
            mine = directory.task().job == job
            events = directory.submission()
        except (OSError, ValueError):  # a run that is being made, or half removed
            continue
        if mine and events:
            yield float(str(events[0]["time"])), LocalRun(directory)


def _useful(attempts: Sequence[Attempt], summary: Summary) -> float:
    """Return the seconds of the steps that count, by their mean time; 0 where it went on from one.

    A submission that went on from a checkpoint does not say what the whole takes.
    """
    if summary.rows[0].start_step:
        return 0.0
    numbers = {row.number for row in summary.rows}
    executed = sum(a.progress.steps for a in attempts if a.number in numbers)
    stepping = sum(max(row.seconds - (row.first_step or 0.0), 0.0) for row in summary.rows)
    start = summary.rows[0].first_step or 0.0
    if not executed or not summary.steps:
        return summary.rows[-1].seconds
    return start + stepping * min(summary.steps / executed, 1.0)


def _gaps(attempts: Sequence[Attempt], summary: Summary) -> tuple[Gap, ...]:
    causes = {attempt.number: attempt.cause for attempt in attempts}
    interrupting = (Cause.PREEMPTED, Cause.LOST)
    return tuple(
        Gap(row.seconds / _HOUR, causes.get(row.number) in interrupting) for row in summary.rows
    )
