"""Finding a run by its name: on this machine, or on the cluster of the current context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpukit.errors import ClusterError, UsageError, did_you_mean
from gpukit.local.directory import RunDirectory, home_of

from .handle import Run
from .local_run import local_names, open_local

if TYPE_CHECKING:
    from .cluster_run import ClusterRun

__all__ = ["open_cluster", "open_run"]


def open_run(
    name: str,
    *,
    home: Path | None = None,
    context: str | None = None,
    namespace: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Run:
    """Return a handle on a run by its name.

    A local run of that name is meant first, unless a context or namespace says otherwise.

    Args:
        name: as ``submit`` printed it.
        home: the folder of local runs; default ``GPUKIT_HOME`` or ``.gpukit``.
        context: of the kubeconfig; the run is one of its cluster.
        namespace: of the run on the cluster; default: that of the context.
        tell: takes a sentence when there is something to wait for.

    Raises:
        UsageError: there is no run of that name.
        ClusterError: the cluster cannot be asked.
    """
    directory = RunDirectory(home or home_of(), name)
    asked = context is not None or namespace is not None
    if home is not None or (directory.exists() and not asked):
        return open_local(name, home)
    try:
        return open_cluster(name, context=context, namespace=namespace, tell=tell)
    except ClusterError as error:
        if asked or error.id != "cluster-config":
            raise
        return open_local(name)  # there is no cluster: say what there is here
    except UsageError as error:
        known = local_names(directory.home)
        error.hint = did_you_mean(name, known, otherwise=error.hint)
        raise


def open_cluster(
    name: str,
    *,
    context: str | None = None,
    namespace: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ClusterRun:
    """Return a handle on a run of the cluster.

    Raises:
        UsageError: there is no run of that name.
        ClusterError: the cluster cannot be asked.
    """
    from gpukit.cluster.client import connect
    from gpukit.cluster.submission import check_ours

    from .cluster_run import ClusterRun

    client = connect(context, tell=tell)
    run = ClusterRun(client, name, namespace or client.namespace)
    job = run.job()
    if job is None:
        raise UsageError(
            "run-unknown", f"there is no run {name!r} in namespace {run.namespace}",
            "`gpukit list` shows what there is; -n names another namespace",
        )  # fmt: skip
    check_ours(job, name)
    return run
