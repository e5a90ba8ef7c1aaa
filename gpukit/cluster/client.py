"""A thin client of the API server: plain JSON in and out, retried where that is safe.

Every object that gpukit creates has a name that follows from its content, so a create that may or
may not have reached the server is simply sent again: ``AlreadyExists`` then says that it had.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from gpukit._version import __version__
from gpukit.errors import ClusterError

from .errors import ApiError, refused
from .kinds import path_of
from .kubeconfig import Access, find_access
from .transport import BrokenError, Response, Stream, Transport

__all__ = ["Client", "Object", "connect"]

Object = dict[str, Any]

_SECONDS = 30.0  # for one answer
_PATIENCE = 60.0  # for all tries of one request
_NOBODY = 3.0  # where nothing ever answered: a wrong address is not tried for a minute
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 8.0
_TELL_AFTER = 2.0  # seconds of trying, before the person is told
_PAGE = 500
_AGAIN = frozenset({429, 500, 502, 503, 504})
_MERGE = "application/merge-patch+json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def _quiet(_text: str) -> None:
    return None


@dataclass
class Client:
    """Talks to one API server; usable from several threads.

    Args:
        access: which, and as whom.
        patience: seconds that one request is tried again for.
        tell: takes a sentence when a request has to wait.
        pause: sleeps; for tests.
    """

    access: Access
    patience: float = _PATIENCE
    tell: Callable[[str], None] = _quiet
    pause: Callable[[float], None] = time.sleep
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._transport = Transport(self.access)
        self._answered = False
        self._skew: float | None = None

    @property
    def namespace(self) -> str:
        """The namespace of the context."""
        return self.access.namespace

    def read(self, path: str, what: str) -> Object:
        """Return what is no object of a kind, such as ``/version`` and ``/apis``."""
        return self._json("GET", path, what)

    @property
    def skew(self) -> float | None:
        """Seconds that the server's clock was ahead of ours at its last answer; None if unknown."""
        return self._skew

    def version(self) -> tuple[int, int]:
        """Return the server's version: ``(1, 31)``."""
        found = self._json("GET", "/version", "read the server's version")
        digits = [
            int("".join(c for c in str(found.get(k, "")) if c.isdigit()) or 0)
            for k in ("major", "minor")
        ]
        return digits[0], digits[1]

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return an object; None where there is none of that name."""
        try:
            return self._json("GET", path_of(kind, namespace, name), f"read {kind} {name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def exists(self, kind: str, name: str, namespace: str | None = None) -> bool:
        """Tell whether there is an object; of what is in it, nothing is sent (Secrets!)."""
        try:
            self._json(
                "GET", path_of(kind, namespace, name), f"look for {kind} {name}", accept=_METADATA
            )
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def names(self, kind: str, namespace: str | None = None) -> list[str]:
        """Return the names of the first 500 objects of a kind; nothing else of them is sent."""
        found = self._json(
            "GET", path_of(kind, namespace), f"list {kind} objects", accept=_METADATA_LIST,
            query={"limit": str(_PAGE)},
        )  # fmt: skip
        return [str(item["metadata"]["name"]) for item in found.get("items") or ()]

    def pages(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = "",
        page: int = _PAGE,
    ) -> Iterator[Object]:  # fmt: skip
        """Yield the pages of a list, as the server sends them."""
        query = {"limit": str(page)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        start = ""
        while True:
            more = {"continue": start} if start else {}
            found = self._json(
                "GET", path_of(kind, namespace), f"list {kind} objects", query={**query, **more}
            )
            yield found
            start = str((found.get("metadata") or {}).get("continue") or "")
            if not start:
                return

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = "",
        page: int = _PAGE,
    ) -> list[Object]:  # fmt: skip
        """Return all objects of a kind, read page by page; begun again where a page has expired."""
        while True:
            items: list[Object] = []
            try:
                for found in self.pages(kind, namespace, labels=labels, fields=fields, page=page):
                    items += found.get("items") or []
            except ApiError as error:
                if error.status == 410 and items:
                    continue
                raise
            return items

    def create(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; unknown fields are refused by the server.

        Raises:
            ApiError: with the reason ``AlreadyExists`` where there is one of that name.
        """
        kind, meta = str(body["kind"]), body["metadata"]
        query = {"fieldValidation": "Strict", "fieldManager": "gpukit"}
        query |= {"dryRun": "All"} if dry_run else {}
        named = f"{kind} {meta.get('name', '')}".strip()
        return self._json(
            "POST", path_of(kind, meta.get("namespace")), f"create {named}", query=query, body=body
        )

    def patch(
        self, kind: str, name: str, namespace: str | None, change: Object, *, form: str = _MERGE
    ) -> Object:
        """Change an object by a merge patch, or by the kind of patch that ``form`` names."""
        return self._json(
            "PATCH", path_of(kind, namespace, name), f"change {kind} {name}",
            query={"fieldManager": "gpukit"}, body=change, form=form,
        )  # fmt: skip

    def delete(
        self, kind: str, name: str, namespace: str | None = None, *, uid: str | None = None,
        grace: int | None = None, propagation: str = "Background",
    ) -> bool:  # fmt: skip
        """Delete an object; tell whether it was there (with this ``uid``, if one is given)."""
        options: Object = {"propagationPolicy": propagation}
        options |= {"preconditions": {"uid": uid}} if uid else {}
        options |= {} if grace is None else {"gracePeriodSeconds": grace}
        path, what = path_of(kind, namespace, name), f"delete {kind} {name}"
        try:
            self._json("DELETE", path, what, body=options)
        except ApiError as error:
            if error.status == 404 or (error.status == 409 and uid):
                return False
            raise
        return True

    def watch(
        self, kind: str, namespace: str | None, version: str, *, labels: str = "",
        fields: str = "", seconds: float = 300.0,
    ) -> WatchStream:  # fmt: skip
        """Return the changes after resource version ``version``, for at most ``seconds``."""
        query = {
            "watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(seconds)),
        }  # fmt: skip
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        path = f"{path_of(kind, namespace)}?{urlencode(query)}"
        return WatchStream(self._stream(path, f"watch {kind} objects", seconds + _SECONDS))

    def logs(
        self, pod: str, namespace: str, *, container: str, follow: bool = False,
        since: str | None = None, tail: int | None = None, limit: int | None = None,
        silence: float = 3600.0,
    ) -> Stream:  # fmt: skip
        """Return the log of a container as a stream of lines, each after its time and a space.

        Args:
            pod: name of the pod.
            namespace: of the pod.
            container: of the pod.
            follow: go on until the container ends.
            since: RFC 3339 time, in whole seconds, to begin at.
            tail: how many of the last lines.
            limit: bytes after which the server stops.
            silence: seconds without a line after which the connection counts as broken.
        """
        query = {"container": container, "timestamps": "true"}
        query |= {"follow": "true"} if follow else {}
        query |= {"sinceTime": since} if since else {}
        query |= {} if tail is None else {"tailLines": str(tail)}
        query |= {} if limit is None else {"limitBytes": str(limit)}
        path = f"{path_of('Pod', namespace, pod, 'log')}?{urlencode(query)}"
        return self._stream(path, f"read the log of pod {pod}", silence)

    def _json(
        self, method: str, path: str, what: str, *, query: Mapping[str, str] | None = None,
        body: Object | None = None, form: str = "application/json", accept: str = "",
    ) -> Object:  # fmt: skip
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        full = f"{path}?{urlencode(query)}" if query else path

        def ask() -> Response:
            headers = {**self._headers(), "Content-Type": form}
            headers |= {"Accept": accept} if accept else {}
            return self._transport.request(method, full, data, headers, _SECONDS)

        response = self._insist(ask, what)
        self._skew = _skew_of(response.headers.get("date", ""), time.time())
        self.warnings += [text for text in response.warnings if text not in self.warnings]
        try:
            found = json.loads(response.data)
        except ValueError:
            raise ApiError(
                "cluster-answer", f"the answer is no JSON ({what})",
                f"is {self.access.server} the API server of a cluster?", response.status,
            ) from None  # fmt: skip
        return found if isinstance(found, dict) else {}

    def _stream(self, path: str, what: str, silence: float) -> Stream:
        opened: list[Stream] = []

        def ask() -> Response:
            stream = self._transport.stream(path, self._headers(), silence)
            if stream.status < 300:
                opened.append(stream)
                return Response(stream.status, {}, b"")
            headers = {k.lower(): v for k, v in stream.response.headers.items()}
            data = b"".join(stream.lines())
            return Response(stream.status, headers, data)

        self._insist(ask, what)
        return opened[-1]

    def _headers(self) -> dict[str, str]:
        header = self.access.credentials.header()
        headers = {"Accept": "application/json", "User-Agent": f"gpukit/{__version__}"}
        return {**headers, "Authorization": header} if header else headers

    def _insist(self, ask: Callable[[], Response], what: str) -> Response:
        """Send until there is an answer that stands, or the patience is over."""
        began, pause, told, renewed = time.monotonic(), _FIRST_PAUSE, False, False
        while True:
            wait, trouble = pause, ""
            failure: ClusterError
            try:
                response = ask()
                self._answered = True
                if response.status < 300:
                    return response
                failure = refused(response.status, response.data, what)
                trouble = f"the API server answers {response.status}"
                if response.status == 401 and not renewed:
                    renewed = True
                    if self.access.credentials.renew():
                        self._transport.forget()
                        continue
                if response.status not in _AGAIN:
                    raise failure
                wait = _retry_after(response.headers, pause)
            except BrokenError as error:
                failure = ClusterError(
                    "cluster-unreachable",
                    f"the cluster at {self.access.server} does not answer: {error} ({what})",
                    "`kubectl get nodes` must work first; then try again",
                )
                trouble = f"no answer ({error})"
            spent = time.monotonic() - began
            if spent + wait > (self.patience if self._answered else min(self.patience, _NOBODY)):
                raise failure
            if not told and spent + wait >= _TELL_AFTER:
                told = True
                self.tell(f"{trouble}; trying again for up to {self.patience:.0f} s: {what}")
            self.pause(wait)
            pause = min(pause * 2, _LONGEST_PAUSE)


@dataclass
class WatchStream:
    """Changes as they come: ``(type, object)``; ends when the server ends it."""

    stream: Stream

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        """Yield the changes.

        Raises:
            BrokenError: the connection broke; list again, and watch from there.
            ApiError: the server ended it with an error; with status 410, list again.
        """
        for line in self.stream.lines():
            try:
                event = json.loads(line)
            except ValueError:
                raise BrokenError("a line of the watch is torn") from None
            if event["type"] == "ERROR":
                status = int(event["object"].get("code") or 500)
                raise refused(status, json.dumps(event["object"]).encode(), "watch")
            yield event["type"], event["object"]

    def close(self) -> None:
        """End it; safe from another thread."""
        self.stream.close()


def connect(
    context: str | None = None, *, patience: float = _PATIENCE, tell: Callable[[str], None] = _quiet
) -> Client:
    """Return a client of the cluster that a context names; nothing is sent yet.

    Args:
        context: of the kubeconfig; None: the current one, or the account of the pod.
        patience: seconds that one request is tried again for.
        tell: takes a sentence when a request has to wait.

    Raises:
        ClusterError: no cluster is configured.
    """
    return Client(find_access(context), patience, tell)


def _skew_of(date: str, now: float) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (TypeError, ValueError):
        return None


def _retry_after(headers: Mapping[str, str], pause: float) -> float:
    text = headers.get("retry-after", "")
    return max(float(text), pause) if text.isdigit() else pause
