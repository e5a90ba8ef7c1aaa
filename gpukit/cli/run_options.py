"""Commands over a run: ``gpukit COMMAND [OPTIONS] RUN``, and which run is meant by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gpukit.errors import UsageError

from . import output

if TYPE_CHECKING:
    from gpukit.cluster.client import Client
    from gpukit.runs.cluster_run import ClusterRun
    from gpukit.runs.handle import Run
    from gpukit.runs.stores import Look, RunStore

__all__ = [
    "cluster_of", "cluster_run_of",
    "only_local", "place_options", "run_argument", "run_of", "run_store_of",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def place_options(function: F) -> F:
    """Add ``--context``, ``--namespace`` and ``--local``."""
    for option in (
        click.option("--local", is_flag=True, help="Runs of this machine (.gpukit)."),
        click.option("-n", "--namespace", metavar="NAME",
            help="Namespace on the cluster; default: that of the context."),
        click.option("--context", metavar="NAME",
            help="Context of the kubeconfig; default: the current one."),
    ):  # fmt: skip
        function = option(function)
    return function


def run_argument(function: F) -> F:
    """Add the argument RUN, and the options that say where it is."""
    return click.argument("run", metavar="RUN")(place_options(function))


def run_of(params: dict[str, Any]) -> Run:
    """Return the run that is meant: a local one of that name comes before one of the cluster.

    Raises:
        UsageError: there is none.
    """
    from gpukit.runs.local_run import open_local
    from gpukit.runs.opening import open_run

    if params["local"]:
        only_local(params)
        return open_local(params["run"])
    return open_run(
        params["run"], context=params["context"], namespace=params["namespace"], tell=output.talk
    )


def run_store_of(params: dict[str, Any], look: Look = "record") -> RunStore:
    """Return the store of a run that is named, or that is in a directory or at a URL.

    Args:
        params: of the command.
        look: what of a claim in a cluster is wanted.

    Raises:
        UsageError: there is none.
        StoreError: it cannot be read.
    """
    from gpukit.runs.stores import is_place, store_at, store_of

    if is_place(params["run"]):
        return store_at(params["run"])
    return store_of(run_of(params), look, output.talk)


def cluster_run_of(params: dict[str, Any], what: str) -> ClusterRun:
    """Return the run, which has to be one of a cluster.

    Raises:
        UsageError: it is a local one.
    """
    from gpukit.runs.cluster_run import ClusterRun

    run = run_of(params)
    if not isinstance(run, ClusterRun):
        raise UsageError(
            "run-local", f"{run.name} is a run of this machine: it has no {what}",
            "name the cluster's run with -n NAMESPACE, if that is meant",
        )  # fmt: skip
    return run


def cluster_of(params: dict[str, Any]) -> tuple[Client, str]:
    """Return a client, and the namespace that is meant."""
    from gpukit.cluster.client import connect

    client = connect(params["context"], tell=output.talk)
    return client, params["namespace"] or client.namespace


def only_local(params: dict[str, Any]) -> None:
    """Refuse ``--local`` beside what is about a cluster.

    Raises:
        UsageError: both are there.
    """
    if params["context"] or params["namespace"]:
        raise UsageError(
            "local-cluster", "--context and --namespace are about a cluster, and --local is not",
            "drop one of them",
        )  # fmt: skip
