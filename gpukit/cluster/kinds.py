"""The kinds of objects that gpukit reads or writes, and where the API has them."""

from __future__ import annotations

from urllib.parse import quote

from gpukit.errors import ClusterError

__all__ = ["path_of", "plural_of"]

_KINDS = {  # kind: (prefix, plural, in a namespace)
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Event": ("/api/v1", "events", True),
    "LimitRange": ("/api/v1", "limitranges", True),
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "PersistentVolume": ("/api/v1", "persistentvolumes", False),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims", True),
    "Pod": ("/api/v1", "pods", True),
    "ResourceQuota": ("/api/v1", "resourcequotas", True),
    "Secret": ("/api/v1", "secrets", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Job": ("/apis/batch/v1", "jobs", True),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses", False),
    "StorageClass": ("/apis/storage.k8s.io/v1", "storageclasses", False),
    "SelfSubjectAccessReview": ("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews", False),
    "LocalQueue": ("/apis/kueue.x-k8s.io/v1beta1", "localqueues", True),
    "ClusterQueue": ("/apis/kueue.x-k8s.io/v1beta1", "clusterqueues", False),
    "Workload": ("/apis/kueue.x-k8s.io/v1beta1", "workloads", True),
}


def plural_of(kind: str) -> str:
    """Return the resource name of a kind: ``jobs`` for ``Job``."""
    return _row(kind)[1]


def path_of(kind: str, namespace: str | None = None, name: str = "", part: str = "") -> str:
    """Return the path of a collection, an object, or a part of it such as ``log``.

    Args:
        kind: such as ``Job``.
        namespace: of the object; None: over all namespaces.
        name: of the object; empty: the collection.
        part: subresource.
    """
    prefix, plural, scoped = _row(kind)
    parts = [prefix]
    if scoped and namespace is not None:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    parts += [quote(text, safe="") for text in (name, part) if text]
    return "/".join(parts)


def _row(kind: str) -> tuple[str, str, bool]:
    if kind not in _KINDS:
        raise ClusterError(
            "cluster-kind", f"gpukit knows no objects of kind {kind!r}", "use kubectl for it"
        )
    return _KINDS[kind]
