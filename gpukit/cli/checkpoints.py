"""``gpukit checkpoints``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import BudgetError

from . import output
from .amounts import duration, short_duration, size
from .output import Column
from .run_options import run_argument, run_store_of

if TYPE_CHECKING:
    from gpukit.runtime.checkpoint.inspection import Listed
    from gpukit.runtime.record import Attempt

__all__ = ["checkpoints"]

_COLORS = {"intact": "green", "damaged": "red", "incomplete": "yellow", "quarantined": "yellow"}


@click.command()
@run_argument
@click.option("--verify", is_flag=True, help="Read every file and compare its checksums.")
@output.format_option("table", "json", "yaml")
def checkpoints(verify: bool, output_format: str, **params: Any) -> int:
    """List the checkpoints of a run, and say what saving costs it.

    RUN is the name of a run, here or on the cluster, a directory, or the URL of a
    run's store, such as s3://bucket/runs/train-1a2b3c4d. Exit code 3 where one is damaged.
    A claim in a cluster is read by a short-lived pod; its files stay there.
    """
    from gpukit.runtime.checkpoint import inspection

    found = run_store_of(params, "files" if verify else "checkpoints")
    attempts = found.record.attempts()
    listed = inspection.list_checkpoints(found.store, max((a.number for a in attempts), default=0))
    if verify:
        listed = [inspection.verify(found.store, one, found.measure) for one in listed]
    if output_format != "table":
        output.data(_plain(found.name, listed, attempts), output_format)
    elif listed:
        output.table(_COLUMNS, [_row(one) for one in listed])
        output.talk()
    else:
        output.talk(f"{found.name} has no checkpoints")
    if output_format == "table":
        for line in _pace(attempts):
            output.talk(line)
    return BudgetError.exit_code if any(one.state == "damaged" for one in listed) else 0


_COLUMNS = [
    Column("step", right=True), Column("attempt", right=True), Column("complete (UTC)"),
    Column("size", right=True), Column("ranks", right=True), Column("state"),
    Column("name", dim=True), Column("problem", wrap=True),
]  # fmt: skip


def _row(one: Listed) -> list[str]:
    when = "-" if one.time is None else _utc(one.time).strftime("%Y-%m-%d %H:%M:%S")
    return [
        str(one.name.step), str(one.name.attempt), when,
        "-" if one.bytes is None else size(one.bytes),
        "-" if one.ranks is None else str(one.ranks),
        output.style(one.state, fg=_COLORS.get(one.state)), str(one.name), one.problem,
    ]  # fmt: skip


def _pace(attempts: list[Attempt]) -> list[str]:
    known = [a.progress for a in attempts if a.progress.interval is not None]
    words = []
    if known:
        newest = known[-1]
        words.append(
            f"a save every {duration(newest.interval)}: it costs "
            f"{short_duration(newest.save_cost)} of training, and is durable after "
            f"{short_duration(newest.save_seconds)}"
        )
    later = attempts[1:]
    if later:
        redone = sum(a.progress.redone or 0 for a in later)
        restores = [a.progress.restore_seconds for a in later if a.progress.restore_seconds]
        words.append(
            f"{len(later)} restarts: {redone} steps done again, {duration(sum(restores))} of "
            "restoring; more in `gpukit interruptions`"
        )
    return words


def _plain(name: str, listed: list[Listed], attempts: list[Attempt]) -> dict[str, object]:
    known = [a.progress for a in attempts if a.progress.interval is not None]
    newest = known[-1] if known else None
    return {
        "run": name,
        "interval_seconds": newest.interval if newest else None,
        "save_cost_seconds": newest.save_cost if newest else None,
        "save_seconds": newest.save_seconds if newest else None,
        "steps_redone": sum(a.progress.redone or 0 for a in attempts),
        "restore_seconds": sum(a.progress.restore_seconds or 0.0 for a in attempts),
        "checkpoints": [
            {
                "name": str(one.name), "step": one.name.step, "attempt": one.name.attempt,
                "time": one.time, "bytes": one.bytes, "ranks": one.ranks, "state": one.state,
                "problem": one.problem,
            }
            for one in listed
        ],
    }  # fmt: skip


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
