"""``gpukit interruptions``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from . import output
from .amounts import duration, money, short_duration
from .output import Column
from .run_options import run_argument, run_store_of

if TYPE_CHECKING:
    from gpukit.finops.interruptions import Ended, Interruptions

__all__ = ["interruptions"]

_VERDICTS = {
    "expand": "expand: fewer than 3 interruptions a week, and back within 15 minutes",
    "stay": "go on, do not expand yet: 3 or more interruptions a week, or 15 minutes to recover",
    "leave": "change the region or go on demand: more than 5 interruptions an hour",
}


@click.command()
@run_argument
@output.format_option("table", "json", "yaml")
def interruptions(output_format: str, **params: Any) -> None:
    """Say how often a run was interrupted, how fast it recovered, and what spot saved.

    RUN is the name of a run, here or on the cluster, a directory, or the URL of a
    run's store, such as s3://bucket/runs/train-1a2b3c4d.
    """
    from gpukit.finops.interruptions import interruptions as read

    found = run_store_of(params)
    record = found.record
    boundaries = {submission.attempts for submission in record.submissions()}
    report = read(record.attempts(), record.about(), boundaries, found.ended_by)
    if output_format != "table":
        output.data(_plain(report, found.name), output_format)
        return
    if not report.attempts:
        output.talk(f"{found.name} has no attempts yet")
        return
    output.table(_COLUMNS, [_row(attempt) for attempt in report.attempts])
    output.talk()
    for line in _words(report):
        output.talk(line)
    if found.local and report.count:
        output.talk("a local run: its interruptions are simulated, and its verdict is practice")


_COLUMNS = [
    Column("attempt", right=True), Column("began (UTC)"), Column("ran", right=True),
    Column("steps"), Column("ended by"), Column("redone", right=True),
    Column("restored in", right=True), Column("until next step", right=True),
]  # fmt: skip


def _row(attempt: Ended) -> list[str]:
    began = datetime.fromtimestamp(attempt.started, timezone.utc)
    ran = None if attempt.ended is None else attempt.ended - attempt.started
    return [
        str(attempt.number), began.strftime("%Y-%m-%d %H:%M:%S"), duration(ran),
        output.mark(f"{attempt.start_step} → {attempt.end_step}"), attempt.words,
        "-" if attempt.redone is None else str(attempt.redone), short_duration(attempt.restore),
        duration(attempt.recovery),
    ]  # fmt: skip


def _words(report: Interruptions) -> list[str]:
    count = f"{report.count} interruption{'s' * (report.count != 1)}"
    words = [f"{count} in {duration(report.seconds)} of running{_rate(report)}"]
    if report.failures:
        words.append(f"{report.failures} crashes or hangs, which are the job's own")
    p50, p95 = report.recovery(0.5), report.recovery(0.95)
    if p50 is not None:
        words.append(f"recovery: p50 {duration(p50)}, p95 {duration(p95)} until the next step")
    words.append(
        f"lost to it: {duration(report.lost)} of running, {report.redone} steps done again"
    )
    words.append(_money(report))
    verdict = report.verdict
    if verdict is not None:
        early = "" if report.sure else "too early to be sure (90 % confidence), but so far "
        words.append(output.style("verdict: ", bold=True) + early + _VERDICTS[verdict])
    return words


def _rate(report: Interruptions) -> str:
    if report.per_week is None or report.bounds is None:
        return ""
    low, high = (_number(bound) for bound in report.bounds)
    return f": {_number(report.per_week)} a week of running (90 %: {low} to {high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _money(report: Interruptions) -> str:
    if report.paid is None or report.on_demand is None or report.saved is None:
        return "cost: a price is unknown, so what spot saved is too (gpukit gpus --prices FILE)"
    share = f" ({100 * report.saved / report.on_demand:.0f} %)" if report.on_demand else ""
    return (
        f"cost: {money(report.paid)}; the same work on demand {money(report.on_demand)}: "
        f"{'saved' if report.saved >= 0 else 'lost'} {money(abs(report.saved))}{share}"
    )


def _plain(report: Interruptions, name: str) -> dict[str, object]:
    def amount(value: object) -> str | None:
        return None if value is None else f"{value:.6f}"

    bounds = report.bounds
    return {
        "run": report.run or name,
        "interruptions": report.count,
        "failures": report.failures,
        "seconds": round(report.seconds, 3),
        "lost_seconds": round(report.lost, 3),
        "steps_redone": report.redone,
        "per_week": report.per_week,
        "per_week_90": None if bounds is None else list(bounds),
        "recovery_seconds": {"p50": report.recovery(0.5), "p95": report.recovery(0.95)},
        "cost": {
            "paid": amount(report.paid), "on_demand": amount(report.on_demand),
            "saved": amount(report.saved),
        },
        "verdict": report.verdict,
        "sure": report.sure,
        "attempts": [asdict(attempt) for attempt in report.attempts],
    }  # fmt: skip
