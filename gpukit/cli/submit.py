"""``gpukit submit``."""

from __future__ import annotations

from typing import Any

import click

from gpukit.errors import UsageError

from . import estimates, output
from .target import plan_of, target_command

__all__ = ["submit"]

_OPTIONS = [
    click.Option(["--local"], is_flag=True,
        help="Run on this machine, as a pod would; all of it is kept in .gpukit."),
    click.Option(["--context"], metavar="NAME",
        help="Context of the kubeconfig; default: the current one, or the pod's own account."),
    click.Option(["--detach", "--no-follow", "-d"], is_flag=True,
        help="Return at once; the run goes on."),
    click.Option(["--dry-run"], type=click.Choice(["client", "server"]),
        help="client: print the manifests. server: have the API server look at them too."),
    click.Option(["--fresh"], is_flag=True,
        help="Begin at step 0 again; what there was is kept as RUN.old-1."),
    click.Option(["--force"], is_flag=True, help="Make a separate run, whatever there is."),
    click.Option(["--resume-from"], metavar="RUN",
        help="Begin at the newest checkpoint of another run."),
    click.Option(["--sweep"], multiple=True, metavar="NAME=VALUES",
        help="A run for each value, or each combination of several: lr=1e-3,1e-4 or seed=0..9."),
    click.Option(["--max-parallel"], type=click.IntRange(min=1), metavar="N",
        help="Of a sweep, run so many at a time; this command lets the next ones begin."),
    click.Option(["--simulate-preemption"], metavar="TIME[,±JITTER]",
        help="With --local: preempt every attempt this long after its first step."),
    click.Option(["--simulate-node-loss"], metavar="TIME[,±JITTER]",
        help="With --local: kill every attempt this long after its first step."),
    click.Option(["--max-interruptions"], type=click.IntRange(min=0), metavar="N",
        help="Stop simulating after this many."),
    click.Option(["--seed"], type=int, default=0, metavar="N", help="Of the jitter."),
    *estimates.OPTIONS,
    click.Option(["-o", "--output-format"], type=click.Choice(["table", "json", "yaml"]),
        default="table", show_default=True, help="Form of what is printed on stdout at the end."),
]  # fmt: skip


@target_command("submit", params=_OPTIONS)
def submit(**params: Any) -> int:
    """Run a job and wait for its end; what it returns is printed on stdout.

    Submitting the same again attaches to the run, shows its result, or goes on
    where it failed or was interrupted. Ctrl-C leaves a run on a cluster, and
    stops one on this machine, with a checkpoint.
    """
    _check_together(params)
    if params["sweep"]:
        from .sweeps import submit_grid

        return submit_grid(params)
    plan = plan_of(params)
    if params["local"]:
        from .submit_local import submit_local

        return submit_local(plan, params)
    if params["dry_run"] == "client":
        output.text(plan.bundle.to_yaml())
        return 0
    from gpukit.cluster.client import connect

    from .submit_cluster import submit_cluster

    return submit_cluster(plan, connect(params["context"], tell=output.talk), params)


def _check_together(params: dict[str, Any]) -> None:
    simulated = params["simulate_preemption"] or params["simulate_node_loss"]
    if simulated and not params["local"]:
        raise UsageError(
            "simulate-cluster", "interruptions are simulated with --local only",
            "on a cluster, `kubectl drain` or `kubectl delete pod` interrupts a run",
        )  # fmt: skip
    if params["max_parallel"] and not params["sweep"]:
        raise UsageError(
            "sweep-missing", "--max-parallel without --sweep", "add --sweep NAME=VALUES"
        )
    single = ("local", "dry_run", "fresh", "force", "resume_from")
    if params["sweep"] and any(params[name] for name in single):
        raise UsageError(
            "sweep-single", "--sweep beside --local, --dry-run, --fresh, --force or --resume-from",
            "drop it: these are about one run on a cluster",
        )  # fmt: skip
    if params["local"] and (params["dry_run"] or params["context"]):
        raise UsageError(
            "local-cluster", "--dry-run and --context are about a cluster, and --local is not",
            "drop one of them",
        )  # fmt: skip
