"""The rights that gpukit needs, each with the reason, and the Roles that give them.

Split in two: what a namespace's own Role gives, without which nothing can be submitted; and what is
read of the whole cluster, without which ``why`` and ``doctor`` see less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["RIGHTS", "Right", "missing", "roles"]


@dataclass(frozen=True)
class Right:
    """Verbs on a resource.

    Attributes:
        group: API group; empty for the core.
        resource: plural name, with its subresource as in ``pods/log``.
        verbs: what is done with it.
        why: what needs it.
        needed: without it, nothing can be submitted and followed.
        cluster: it is of the whole cluster.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    needed: bool = True
    cluster: bool = False


_LOOK = ("get", "list", "watch")

RIGHTS: tuple[Right, ...] = (
    Right("batch", "jobs", (*_LOOK, "create", "patch", "delete"), "runs"),
    Right("", "configmaps", ("get", "create", "patch"), "the code, owned by the Jobs that run it"),
    Right("", "persistentvolumeclaims", ("get", "list", "create", "delete"), "checkpoints"),
    Right("", "pods", (*_LOOK, "create", "delete"),
          "status; cancel; a short-lived pod that reads a store on a claim"),
    Right("", "pods/log", ("get",), "logs"),
    Right("", "events", ("list", "watch"), "events, and why the API server refuses pods"),
    Right("", "resourcequotas", ("list",), "why a quota does not allow a pod", needed=False),
    Right("kueue.x-k8s.io", "localqueues", ("list",), "why a queue holds a Job", needed=False),
    Right("kueue.x-k8s.io", "workloads", ("list",), "why a queue holds a Job", needed=False),
    Right("", "nodes", ("get", "list"), 'platform="auto"; what nodes offer', False, cluster=True),
    Right("", "pods", ("list",), "who holds the GPUs", False, cluster=True),
    Right("", "namespaces", ("get",), "the PodSecurity level", False, cluster=True),
    Right("", "persistentvolumes", ("list",), "in which zone a volume is", False, cluster=True),
    Right("storage.k8s.io", "storageclasses", ("list",), "whether a new claim gets a volume",
          False, cluster=True),
    Right("scheduling.k8s.io", "priorityclasses", ("list",), "which priorities there are", False,
          cluster=True),
)  # fmt: skip
"""All that gpukit does with a cluster."""

_API = "rbac.authorization.k8s.io/v1"
_NAME = "gpukit"


def roles(namespace: str, subject: str = "") -> list[dict[str, Any]]:
    """Return the Role and the ClusterRole, bound to somebody if one is named.

    Args:
        namespace: where runs are submitted.
        subject: ``user:NAME``, ``group:NAME`` or ``serviceaccount:NAME``; empty for nobody yet.
    """
    own = [right for right in RIGHTS if not right.cluster]
    wide = [right for right in RIGHTS if right.cluster]
    found = [
        _role("Role", _NAME, own, namespace),
        _role("ClusterRole", f"{_NAME}-reader", wide),
    ]
    if subject:
        who = _subject(subject, namespace)
        found += [
            _binding("RoleBinding", "Role", _NAME, who, namespace),
            _binding("ClusterRoleBinding", "ClusterRole", f"{_NAME}-reader", who),
        ]
    return found


def _role(kind: str, name: str, rights: Sequence[Right], namespace: str = "") -> dict[str, Any]:
    rules = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)}
        for right in rights
    ]
    return {
        "apiVersion": _API, "kind": kind, "metadata": _named(name, namespace), "rules": rules
    }  # fmt: skip


def _binding(
    kind: str, role: str, name: str, subject: dict[str, str], namespace: str = ""
) -> dict[str, Any]:
    suffix = "-".join((name, subject["name"].rpartition(":")[2].lower()))
    return {
        "apiVersion": _API,
        "kind": kind,
        "metadata": _named(suffix, namespace),
        "subjects": [subject],
        "roleRef": {"apiGroup": _API.partition("/")[0], "kind": role, "name": name},
    }


def _named(name: str, namespace: str) -> dict[str, str]:
    return {"name": name, **({"namespace": namespace} if namespace else {})}


def _subject(text: str, namespace: str) -> dict[str, str]:
    kind, _, name = text.partition(":")
    if kind == "serviceaccount":
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    group = _API.partition("/")[0]
    return {"apiGroup": group, "kind": kind.capitalize(), "name": name}


def missing(denied: Iterable[tuple[Right, str]]) -> list[str]:
    """Return the rights that are not there, by resource: ``create, delete on pods (runs)``."""
    by_right: dict[Right, list[str]] = {}
    for right, verb in denied:
        by_right.setdefault(right, []).append(verb)
    return [f"{', '.join(verbs)} on {_named_fully(r)}: {r.why}" for r, verbs in by_right.items()]


def _named_fully(right: Right) -> str:
    group = f".{right.group}" if right.group else ""
    everywhere = " of all namespaces" if right.cluster and right.resource == "pods" else ""
    return f"{right.resource}{group}{everywhere}"
