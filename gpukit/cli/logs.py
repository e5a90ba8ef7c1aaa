"""``gpukit logs``."""

from __future__ import annotations

import datetime
from typing import Any

import click

from gpukit.errors import UsageError

from . import output
from .run_options import run_argument, run_of

__all__ = ["logs"]

_INTERRUPTED = 130


@click.command("logs")
@run_argument
@click.option("-f", "--follow", is_flag=True,
    help="Go on until the run ends, over all attempts; exit with its code.")  # fmt: skip
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Of this attempt.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--since", metavar="TIME", help="Only lines of the last 10m, 2h, …")
def logs(
    follow: bool, attempt: int | None, tail: int | None, since: str | None, **params: Any
) -> int:
    """Print what the newest attempt of a run has written, or follow all of them.

    Ctrl-C leaves; the run goes on.
    """  # fmt: skip
    from gpukit.runs.local_run import LocalRun

    if follow and (attempt or tail is not None or since):
        raise UsageError(
            "logs-follow", "-f shows the whole run, and cannot be narrowed down",
            "drop -f, or drop --attempt, --tail and --since",
        )  # fmt: skip
    run = run_of(params)
    if follow:
        try:
            for line in run.follow():
                output.text(f"{line}\n")
        except KeyboardInterrupt:
            output.talk(f"left; the run goes on: gpukit logs -f {run.name}")
            return _INTERRUPTED
        if run.status() != "succeeded":
            raise run.failure()
        return 0
    if isinstance(run, LocalRun):
        lines = run.logs(attempt).splitlines()
        for line in lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]:
            output.text(f"{line}\n")
        return 0
    _print_cluster(run, attempt, tail, since)
    return 0


def _print_cluster(run: Any, attempt: int | None, tail: int | None, since: str | None) -> None:
    for line in run.log_lines(attempt, tail=tail, since=since and _time(since)):
        output.text(f"{line}\n")


def _time(ago: str) -> str:
    from gpukit.quantity import parse_duration

    seconds = parse_duration(ago, "--since")
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now - datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
