"""``gpukit why``."""

from __future__ import annotations

import time

import click

from . import output

__all__ = ["why"]

_FINDINGS = 3
_SECOND_LOOK = 5.0  # seconds; the scheduler takes one at most to place a pod that fits


@click.command("why")
@click.argument("run")
@click.option("-n", "--namespace", metavar="NAME", help="Of the run; default: the context's.")
@click.option("--context", metavar="NAME", help="Of the kubeconfig; default: the current one.")
@output.format_option("table", "json", "yaml")
def why(run: str, namespace: str | None, context: str | None, output_format: str) -> int:
    """Say why a run does not run, and what to do.

    One reason, what shows it, and a fix that can be applied as it stands: options
    of the job, or a kubectl command for whoever may run it. Exit code 3 where
    something stands in the way, 0 where nothing does.
    """
    from gpukit.cluster.snapshot import read_snapshot
    from gpukit.diagnose import is_doubtful, state
    from gpukit.diagnose import why as judge

    from .verdicts import show_verdict

    snapshot = read_snapshot(run, namespace, context)
    verdict = judge(snapshot, run)
    if verdict is not None and is_doubtful(verdict):
        time.sleep(_SECOND_LOOK)
        snapshot = read_snapshot(run, namespace, context)
        verdict = judge(snapshot, run)
    if output_format != "table":
        found = None if verdict is None else verdict.data()
        where = None if verdict is not None else state(snapshot, run)
        gaps = [{"what": gap.what, "words": gap.words} for gap in snapshot.gaps]
        output.data(
            {"run": run, "verdict": found, "state": where, "not_readable": gaps}, output_format
        )
    elif verdict is None:
        output.text(f"{run}: {state(snapshot, run)}")
    else:
        show_verdict(run, verdict)
    for gap in snapshot.gaps:
        output.talk(output.style(f"not readable: {gap.what}: {gap.words}", dim=True))
    return 0 if verdict is None else _FINDINGS
