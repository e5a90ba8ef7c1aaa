"""A small client of the API server for tests: plain JSON, many threads, watches."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3

__all__ = ["Api", "ApiError", "wait_until"]

T = TypeVar("T")
Json = dict[str, Any]

PATIENCE = 120.0
"""Seconds that a test waits for something that normally takes one or two."""


class ApiError(Exception):
    """The API server refused; ``code`` is the HTTP status."""

    def __init__(self, method: str, path: str, code: int, message: str) -> None:
        super().__init__(f"{method} {path}: {code} {message}")
        self.code = code
        self.message = message


class Api:
    """One user's view of an API server; may be used by many threads."""

    def __init__(
        self,
        url: str,
        ca: Path,
        headers: Mapping[str, str],
        *,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Accept": "application/json", **headers}
        self._pool = urllib3.PoolManager(
            ca_certs=str(ca), maxsize=32, retries=False,
            cert_file=certificate and str(certificate), key_file=key and str(key),
        )  # fmt: skip

    def get(self, path: str, **query: Any) -> Json:
        """GET an object or a list."""
        return self._call("GET", path, query)

    def find(self, path: str) -> Json | None:
        """GET an object; None where there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def items(self, path: str, **query: Any) -> list[Json]:
        """GET the items of a list."""
        found: list[Json] = self.get(path, **query)["items"] or []
        return found

    def post(self, path: str, body: Json, **query: Any) -> Json:
        """Create an object, or use a subresource."""
        return self._call("POST", path, query, body)

    def put(self, path: str, body: Json) -> Json:
        """Replace an object."""
        return self._call("PUT", path, {}, body)

    def patch(self, path: str, body: Json, kind: str = "merge-patch", **query: Any) -> Json:
        """Change an object; ``kind`` may also be ``strategic-merge-patch``."""
        return self._call("PATCH", path, query, body, f"application/{kind}+json")

    def delete(self, path: str, body: Json | None = None, **query: Any) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            self._call("DELETE", path, query, body)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def text(self, path: str, **query: Any) -> str:
        """GET what is no JSON: logs, /readyz."""
        response = self._send("GET", path, query, None, "")
        return str(response.data.decode())

    def watch(self, path: str, stop: threading.Event, **query: Any) -> Iterator[tuple[str, Json]]:
        """Yield (type, object) from a list and then for ever, across cut connections.

        After a cut it lists anew: the objects come as ``SYNC``, and a ``LISTED`` with the whole
        list tells what has gone in between.
        """
        while not stop.is_set():
            try:
                listed = self.get(path, **query)
                yield "LISTED", listed
                version = listed["metadata"]["resourceVersion"]
                yield from self._events(path, {**query, "resourceVersion": version}, stop)
            except (ApiError, urllib3.exceptions.HTTPError, OSError, ValueError):
                stop.wait(0.2)

    def _events(
        self, path: str, query: Mapping[str, Any], stop: threading.Event
    ) -> Iterator[tuple[str, Json]]:
        url = f"{self.url}{path}?{urlencode({**query, 'watch': 'true'})}"
        timeout = urllib3.Timeout(connect=5, read=60)
        response = self._pool.request(
            "GET", url, headers=self._headers, preload_content=False, timeout=timeout
        )
        try:
            if response.status >= 400:
                raise ApiError("GET", path, response.status, _message(response.data))
            rest = b""
            for chunk in response.stream(None):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR" or stop.is_set():
                        return
                    yield event["type"], event["object"]
        finally:
            response.close()

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Json | None = None,
        content: str = "application/json",
    ) -> Json:
        answer: Json = json.loads(self._send(method, path, query, body, content).data)
        return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, Any], body: Json | None, content: str
    ) -> urllib3.BaseHTTPResponse:
        url = self.url + path + (f"?{urlencode(query)}" if query else "")
        headers = {**self._headers, **({"Content-Type": content} if body is not None else {})}
        data = None if body is None else json.dumps(body).encode()
        response = self._pool.request(method, url, body=data, headers=headers, timeout=30.0)
        if response.status >= 400:
            raise ApiError(method, path, response.status, _message(response.data))
        return response


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace")


def wait_until(
    what: str, look: Callable[[], T | None], *, patience: float = PATIENCE, every: float = 0.1
) -> T:
    """Return the first thing that ``look`` finds; fail the test when it finds nothing in time."""
    until = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}; last: {found!r}")
        time.sleep(every)
