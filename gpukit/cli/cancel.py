"""``gpukit cancel``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from gpukit.errors import UsageError

from . import output
from .run_options import cluster_of, place_options, run_of

__all__ = ["cancel"]

_REQUESTS = 8  # at a time


@click.command("cancel")
@place_options
@click.argument("run", required=False)
@click.option("--sweep", metavar="NAME", help="All runs of a sweep.")
@click.option("--now", is_flag=True, help="Kill it, without a last checkpoint.")
def cancel(now: bool, sweep: str | None, **params: Any) -> int:
    """Stop a run: it saves a checkpoint and leaves within its grace period.

    Submitting it again goes on from there.
    """
    from gpukit.runs.cluster_run import ClusterRun

    if (sweep is None) == (params["run"] is None):
        raise UsageError("cancel-what", "name a run or a sweep", "gpukit cancel RUN")
    if sweep is not None:
        _cancel_sweep(sweep, params, now=now)
        return 0
    run = run_of(params)
    if isinstance(run, ClusterRun):
        from .leaving import cancel_and_watch

        cancelled = cancel_and_watch(run, now=now)
    else:
        cancelled = run.cancel(now=now)
        if cancelled:
            run.wait()
    if not cancelled:
        output.talk(f"{run.name} is not running: {run.status()}")
        return 0
    output.talk(f"{run.name} has left; submit it again to go on from its newest checkpoint")
    return 0


def _cancel_sweep(sweep: str, params: dict[str, Any], *, now: bool) -> None:
    from gpukit.contract import LABEL_SWEEP
    from gpukit.runs.cluster_run import ClusterRun

    client, namespace = cluster_of(params)
    found = client.list("Job", namespace, labels=f"{LABEL_SWEEP}={sweep}")
    if not found:
        raise UsageError(
            "sweep-unknown", f"there is no run of a sweep {sweep!r} in namespace {namespace}",
            "`gpukit list -o json` shows the sweeps of runs",
        )  # fmt: skip
    runs = [ClusterRun(client, str(item["metadata"]["name"]), namespace) for item in found]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        asked = list(pool.map(lambda run: run.cancel(now=now), runs))
    output.talk(
        f"{sum(asked)} of {len(runs)} runs are asked to save and leave; the others have ended"
    )
