"""``gpukit cancel``."""

from __future__ import annotations

from typing import Any

import click

from . import output
from .run_options import run_argument, run_of

__all__ = ["cancel"]


@click.command("cancel")
@run_argument
@click.option("--now", is_flag=True, help="Kill it, without a last checkpoint.")
def cancel(now: bool, **params: Any) -> int:
    """Stop a run: it saves a checkpoint and leaves within its grace period.

    Submitting it again goes on from there.
    """
    from gpukit.runs.cluster_run import ClusterRun

    run = run_of(params)
    if not run.cancel(now=now):
        output.talk(f"{run.name} is not running: {run.status()}")
        return 0
    if isinstance(run, ClusterRun):
        from .leaving import watch_leave

        watch_leave(run)
    else:
        run.wait()
    output.talk(f"{run.name} has left; submit it again to go on from its newest checkpoint")
    return 0
