"""Reading the nodes of the cluster that the current context names."""

from __future__ import annotations

import json
from typing import Any

from gpukit.errors import ClusterError

__all__ = ["read_nodes"]

_SECONDS = 10
_PAGE = 500


def read_nodes(context: str | None = None) -> list[dict[str, Any]]:
    """Return all Node objects as the API server sends them.

    Args:
        context: of the kubeconfig; default: the current one, or that of the pod it runs in.

    Raises:
        ClusterError: no client, no configuration, no connection, or no permission.
    """
    api = _core_api(context)
    nodes: list[dict[str, Any]] = []
    start: str | None = None
    while True:
        page = _page(api, start)
        nodes += page.get("items") or []
        start = (page.get("metadata") or {}).get("continue")
        if not start:
            return nodes


def _core_api(context: str | None) -> Any:
    try:
        from kubernetes import client
        from kubernetes import config as config_module
    except ImportError:
        raise ClusterError(
            "cluster-client", "the Kubernetes client for Python is not installed",
            "pip install 'gpukit[kubernetes]', or name the platform instead of \"auto\"",
        ) from None  # fmt: skip
    config: Any = config_module  # the package has no types
    configuration = client.Configuration()
    try:
        config.load_kube_config(context=context, client_configuration=configuration)
    except config.ConfigException as error:
        if context is not None or not _in_pod(config, configuration):
            raise ClusterError(
                "cluster-config", f"no cluster is configured: {_line(error)}",
                "set KUBECONFIG, or `kubectl config use-context …`; "
                "`kubectl get nodes` must work first",
            ) from None  # fmt: skip
    configuration.retries = 0
    return client.CoreV1Api(client.ApiClient(configuration))


def _in_pod(config: Any, configuration: Any) -> bool:
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return False
    return True


def _page(api: Any, start: str | None) -> dict[str, Any]:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        response = api.list_node(
            limit=_PAGE, _continue=start, _preload_content=False, _request_timeout=_SECONDS
        )
        page: dict[str, Any] = json.loads(response.data)
    except ApiException as error:
        raise _refused(error) from None
    except (HTTPError, OSError, ValueError) as error:
        host = api.api_client.configuration.host
        raise ClusterError(
            "cluster-unreachable", f"the cluster at {host} does not answer: {_line(error)}",
            "`kubectl get nodes` must work first; or name the platform instead of \"auto\"",
        ) from None  # fmt: skip
    return page


def _refused(error: Any) -> ClusterError:
    """Return the error with the API server's own words."""
    try:
        words = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        words = str(error.reason)
    if error.status == 401:
        return ClusterError(
            "cluster-login", f"the cluster does not know you: {words}",
            "log in again, as for kubectl",
        )  # fmt: skip
    if error.status == 403:
        return ClusterError(
            "cluster-forbidden", f"the nodes may not be read: {words}",
            "ask for a ClusterRole with get and list on nodes, or name the platform instead of "
            '"auto"',
        )  # fmt: skip
    return ClusterError(
        "cluster-error", f"the cluster answers {error.status}: {words}", "try again later"
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
