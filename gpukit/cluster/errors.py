"""What the API server refuses, in its own words first, with what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from gpukit.errors import ClusterError

__all__ = ["ApiError", "refused"]

_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
)
_NOT_OURS = "the API server has trouble; try again later"


class ApiError(ClusterError):
    """The API server refused a request.

    Attributes:
        status: HTTP status.
        reason: one word, such as ``AlreadyExists`` or ``Expired``.
    """

    def __init__(self, id: str, message: str, hint: str, status: int = 0, reason: str = "") -> None:
        super().__init__(id, message, hint)
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[ApiError], tuple[str, str, str, int, str]]:  # type: ignore[override]
        return type(self), (self.id, self.message, self.hint, self.status, self.reason)


def refused(status: int, data: bytes, what: str) -> ApiError:
    """Return the error of an answer that is none of 2xx.

    Args:
        status: HTTP status.
        data: body of the answer; a Status object, if it comes from the API server itself.
        what: was asked for, in words: ``create job train-0a1d``.
    """
    body = _status(data)
    words = str(body.get("message") or data[:300].decode(errors="replace").strip() or status)
    reason = str(body.get("reason") or "")
    id, hint = _meaning(status, words)
    return ApiError(id, f"{words} ({what})", hint, status, reason)


def _meaning(status: int, words: str) -> tuple[str, str]:
    if status == 401:
        return "cluster-login", "the cluster does not know you: log in again, as for kubectl"
    if status == 403:
        return _forbidden(words)
    if status == 404:
        return "cluster-not-found", "look at the namespace (-n) and the context (--context)"
    if status == 409:
        return "cluster-conflict", "somebody else changes it at the same moment; try again"
    if status in (400, 422):
        return "cluster-invalid", (
            "the API server does not take the object: look at pod=, or report it as a bug of gpukit"
        )
    if status == 413:
        return "cluster-too-large", "ship less: `gpukit archive FILE` lists what is in the archive"
    if status == 429:
        return "cluster-busy", "the API server is overloaded; try again later"
    return "cluster-error", _NOT_OURS


def _forbidden(words: str) -> tuple[str, str]:
    missing = _FORBIDDEN.search(words)
    if missing:
        group = f' (API group "{missing["group"]}")' if missing["group"] else ""
        return "cluster-forbidden", (
            f"ask for a Role with the verb {missing['verb']} on {missing['resource']}{group}: "
            "`gpukit doctor` prints the Role that gpukit needs"
        )
    if "exceeded quota" in words or "failed quota" in words:
        return "cluster-quota", (
            "the namespace's ResourceQuota is full: delete runs that have ended (`gpukit list`), "
            "or ask for more"
        )
    if "violates PodSecurity" in words:
        return "cluster-pod-security", (
            "the namespace takes no such pods: drop what pod= adds, or use another namespace"
        )
    return "cluster-refused", "an admission rule of the cluster refuses it; its words say why"


def _status(data: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(data)
    except ValueError:
        return {}
    return body if isinstance(body, Mapping) else {}
