"""Which cluster, and as whom: kubeconfig files as kubectl reads them, or the pod's own account.

Reading them here, rather than by the official client, makes `gpukit submit` start in half of the
time (`import kubernetes.client` alone takes 0.3 to 0.9 s) and needs nothing to be installed; tests
hold it against the official client's reading.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpukit.errors import ClusterError, did_you_mean

from .credentials import Credentials, ExecCredentials, StaticCredentials, TokenFile

__all__ = ["Access", "find_access"]

_POD_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FIRST = "`kubectl get nodes` must work first"


@dataclass(frozen=True)
class Access:
    """How to reach one API server.

    Attributes:
        server: URL of the API server.
        context: name of the kubeconfig's context; empty inside of a pod.
        namespace: where objects go that name none.
        credentials: who we are.
        authority: PEM of the certificates that the server's is signed by; None: the system's.
        insecure: the server's certificate is not looked at.
        tls_name: name that is expected in the certificate; None: the host's.
        proxy: URL of an HTTP proxy of the kubeconfig.
    """

    server: str
    context: str
    namespace: str
    credentials: Credentials = field(default_factory=StaticCredentials)
    authority: str | None = None
    insecure: bool = False
    tls_name: str | None = None
    proxy: str | None = None


def find_access(
    context: str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    home: Path | None = None,
    pod_folder: Path = _POD_FOLDER,
) -> Access:
    """Return how to reach the cluster of a context.

    Args:
        context: of the kubeconfig; None: the current one, or the account of the pod it runs in.
        environ: ``KUBECONFIG`` and the variables of a pod are taken from it.
        home: the folder that has ``.kube/config``.
        pod_folder: where a pod has its token.

    Raises:
        ClusterError: there is no such context, or its configuration cannot be read.
    """
    environ = os.environ if environ is None else environ
    files = _files(environ, home or Path.home())
    merged = _merge([(file, _read(file)) for file in files if file.is_file()])
    name = context or str(merged.get("current-context") or "")
    if not name:
        inside = _in_pod(environ, pod_folder)
        if inside is not None:
            return inside
        where = ", ".join(map(str, files))
        raise ClusterError(
            "cluster-config", f"no cluster is configured: {where} has no current context"
            if any(file.is_file() for file in files) else
            f"no cluster is configured: there is no {where}",
            f"set KUBECONFIG, or `kubectl config use-context …`; {_FIRST}",
        )  # fmt: skip
    return _from_context(merged, name)


def _files(environ: Mapping[str, str], home: Path) -> list[Path]:
    named = environ.get("KUBECONFIG", "")
    return [Path(part) for part in named.split(os.pathsep) if part] or [home / ".kube" / "config"]


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        found = yaml.load(file.read_text(encoding="utf-8"), loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ClusterError(
            "cluster-config", f"the kubeconfig {file} cannot be read: {_line(error)}", _FIRST
        ) from None
    return found if isinstance(found, dict) else {}


def _merge(files: list[tuple[Path, dict[str, Any]]]) -> dict[str, Any]:
    """Merge kubeconfigs as kubectl does: the first file that has a name, or a value, wins."""
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}}
    for file, values in files:
        for kind in ("clusters", "users", "contexts"):
            for entry in values.get(kind) or ():
                body = dict(entry.get(kind[:-1]) or {})
                merged[kind].setdefault(str(entry.get("name")), {**body, "_folder": file.parent})
        merged.setdefault("current-context", values.get("current-context") or None)
        merged["current-context"] = merged["current-context"] or values.get("current-context")
    return merged


def _from_context(merged: Mapping[str, Any], name: str) -> Access:
    context = merged["contexts"].get(name)
    if context is None:
        known = list(merged["contexts"])
        raise ClusterError(
            "cluster-context", f"the kubeconfig has no context {name!r}",
            did_you_mean(name, known, otherwise=f"it has: {', '.join(known)}" if known else _FIRST),
        )  # fmt: skip
    cluster = merged["clusters"].get(str(context.get("cluster")))
    user = merged["users"].get(str(context.get("user")), {})
    if not cluster or not cluster.get("server"):
        raise ClusterError(
            "cluster-config", f"context {name!r} names no cluster that the kubeconfig has", _FIRST
        )
    authority = _content(cluster, "certificate-authority")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        context=name,
        namespace=str(context.get("namespace") or "default"),
        credentials=_credentials(user, cluster),
        authority=authority,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
    )


def _credentials(user: Mapping[str, Any], cluster: Mapping[str, Any]) -> Credentials:
    certificate, key = _content(user, "client-certificate"), _content(user, "client-key")
    pair = (certificate, key) if certificate and key else None
    if user.get("token"):
        return StaticCredentials(token=str(user["token"]), certificate=pair)
    if user.get("tokenFile"):
        return TokenFile(Path(user["_folder"], str(user["tokenFile"])))
    if user.get("exec"):
        return ExecCredentials(user["exec"], Path(user["_folder"]), _cluster_info(cluster))
    if user.get("username"):
        text = f"{user['username']}:{user.get('password', '')}"
        return StaticCredentials(basic=base64.b64encode(text.encode()).decode())
    if user.get("auth-provider"):
        provider = (user["auth-provider"] or {}).get("name")
        raise ClusterError(
            "cluster-auth-provider",
            f"the kubeconfig logs in by the auth-provider {provider!r}, which Kubernetes has "
            "given up",
            "use an exec plugin: gke-gcloud-auth-plugin, kubelogin, `aws eks update-kubeconfig`",
        )
    return StaticCredentials(certificate=pair)


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plugin is told of the cluster where it asks for it."""
    shown: dict[str, Any] = {"server": cluster.get("server")}
    authority = _content(cluster, "certificate-authority")
    if authority:
        shown["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            shown["config"] = extension.get("extension")
    return shown


def _content(values: Mapping[str, Any], key: str) -> str | None:
    """Return a PEM from ``KEY-data``, or from the file that ``KEY`` names."""
    try:
        if values.get(f"{key}-data"):
            return base64.b64decode(str(values[f"{key}-data"])).decode("ascii")
        if values.get(key):
            return Path(values["_folder"], str(values[key])).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise ClusterError(
            "cluster-config", f"{key} of the kubeconfig cannot be read: {_line(error)}", _FIRST
        ) from None
    return None


def _in_pod(environ: Mapping[str, str], folder: Path) -> Access | None:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (folder / "token").is_file():
        return None
    namespace = folder / "namespace"
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        context="",
        namespace=namespace.read_text(encoding="utf-8") if namespace.is_file() else "default",
        credentials=TokenFile(folder / "token"),
        authority=(folder / "ca.crt").read_text(encoding="ascii"),
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
