"""Reading the nodes of the cluster that the current context names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpukit.errors import ClusterError

if TYPE_CHECKING:
    from .client import Object

__all__ = ["read_nodes"]

_PATIENCE = 5.0
_OR = 'or name the platform instead of "auto"'


def read_nodes(context: str | None = None) -> list[Object]:
    """Return all Node objects as the API server sends them.

    Args:
        context: of the kubeconfig; default: the current one, or that of the pod it runs in.

    Raises:
        ClusterError: no configuration, no connection, or no permission.
    """
    from .client import connect  # HTTP and TLS are loaded when there is somebody to talk to

    try:
        return connect(context, patience=_PATIENCE).list("Node")
    except ClusterError as error:
        error.hint = f"{error.hint}, {_OR}"
        raise
