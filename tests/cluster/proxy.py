"""A proxy before the API server that does to requests what networks and servers do.

Faults are queued, and the first that fits a request is used up by it::

    proxy.answer(429, headers={"Retry-After": "1"}, method="POST", path="/jobs", times=2)
    proxy.silence(path="/jobs")              # nobody answers, and the server never saw it
    proxy.silence(path="/jobs", acted=True)  # the server did it, and its answer is lost
    proxy.reset(acted=True)                  # the connection breaks
    proxy.cut(path="/log", lines=100)        # a stream ends in the middle of line 101
    proxy.expire(path="watch=")              # 410 Gone within a watch
    proxy.stale(path="/configmaps/")         # a read answers what the first such read answered
    proxy.call(process.kill, nth=3)          # something happens after the third request
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from .https import HttpsServer

__all__ = ["FaultProxy", "Seen"]

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_REASONS = {
    401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired",
    429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable",
}  # fmt: skip


@dataclass
class _Fault:
    kind: str
    method: str = ""
    path: str = ""
    times: int = 1
    skip: int = 0
    acted: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    lines: int = 0
    then: Callable[[], object] | None = None

    def fits(self, method: str, path: str) -> bool:
        return self.method in ("", method) and re.search(self.path, path) is not None


@dataclass(frozen=True)
class Seen:
    """A request: what was asked, the status that the client was told (0: none), the fault."""

    method: str
    path: str
    status: int
    fault: str = ""


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class FaultProxy:
    """A proxy on loopback, with the API server's own certificate.

    Attributes:
        url: of the proxy; a client needs nothing but this instead of the server's.
        kubeconfig: of the test's administrator, through the proxy.
        seen: the requests so far, oldest first.
    """

    kubeconfig: Path

    def __init__(self, target: str, certificate: Path, key: Path) -> None:
        self.seen: list[Seen] = []
        self._faults: list[_Fault] = []
        self._first: dict[str, _Answer] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._port = int(urlsplit(target).port or 443)
        self._context = ssl.create_default_context(cafile=str(certificate))
        self._server = HttpsServer(type("Handler", (_Handler,), {"proxy": self}), certificate, key)
        self.url = f"https://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """Stop; whoever waits for an answer gets none."""
        self._closed.set()
        self._server.stop()

    # ------------------------------------------------------------ faults

    def answer(
        self,
        status: int,
        *,
        message: str = "injected",
        headers: Mapping[str, str] | None = None,
        method: str = "",
        path: str = "",
        times: int = 1,
        skip: int = 0,
        acted: bool = False,
    ) -> None:
        """Answer with a Status object instead of the server.

        Args:
            status: HTTP status.
            message: of the Status.
            headers: more of them.
            method: of the requests; "" is any.
            path: regular expression, searched in path and query.
            times: how many requests; -1 is all.
            skip: how many that fit are let through before.
            acted: the server does what it is asked, but its answer is this one.
        """
        self._add(
            _Fault("answer", method, path, times, skip, acted, status, headers or {}, message)
        )

    def silence(
        self, *, method: str = "", path: str = "", times: int = 1, skip: int = 0,
        acted: bool = False,
    ) -> None:  # fmt: skip
        """Answer nothing until the client gives up."""
        self._add(_Fault("silence", method, path, times, skip, acted))

    def reset(
        self, *, method: str = "", path: str = "", times: int = 1, skip: int = 0,
        acted: bool = False,
    ) -> None:  # fmt: skip
        """Break the connection instead of an answer."""
        self._add(_Fault("reset", method, path, times, skip, acted))

    def cut(self, *, path: str = "", lines: int = 0, times: int = 1, skip: int = 0) -> None:
        """Break the connection within the answer, in the middle of the line after ``lines``."""
        self._add(_Fault("cut", "", path, times, skip, lines=lines))

    def expire(self, *, path: str = "watch=", times: int = 1, skip: int = 0) -> None:
        """Tell a watch that its resourceVersion is too old."""
        self._add(_Fault("expire", "GET", path, times, skip))

    def stale(self, *, path: str = "", times: int = 1, skip: int = 0) -> None:
        """Answer a read with what the first read of the same path was answered."""
        self._add(_Fault("stale", "GET", path, times, skip))

    def call(
        self, then: Callable[[], object], *, nth: int = 1, method: str = "", path: str = ""
    ) -> None:
        """Call something when the server has acted on the nth request, before its answer."""
        self._add(_Fault("call", method, path, 1, nth - 1, acted=True, then=then))

    def clear(self) -> None:
        """Forget the faults that are left."""
        with self._lock:
            self._faults.clear()

    def pending(self) -> int:
        """Return how many faults have not been used up."""
        with self._lock:
            return len(self._faults)

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _take(self, method: str, path: str) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                if not fault.fits(method, path):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times == 0:
                    self._faults.remove(fault)
                return fault
        return None

    def _note(self, method: str, path: str, status: int, fault: _Fault | None) -> None:
        with self._lock:
            self.seen.append(Seen(method, path, status, fault.kind if fault else ""))

    # ------------------------------------------------------------ the server behind

    def connect(self) -> http.client.HTTPSConnection:
        """Return a connection to the API server."""
        return http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context)

    def first_answer(self, path: str, answer: _Answer | None = None) -> _Answer | None:
        """Remember and return what the first read of a path was answered."""
        with self._lock:
            if answer is not None:
                self._first.setdefault(path, answer)
            return self._first.get(path)

    def wait_closed(self, seconds: float) -> bool:
        """Wait; tell whether the proxy was closed."""
        return self._closed.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ClassVar[FaultProxy]

    def handle_request(self) -> None:
        """Apply the fault that fits, if there is one; else pass on."""
        self._behind = self.proxy.connect()
        with contextlib.closing(self._behind):
            self._handle()

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        fault = self.proxy._take(self.command, self.path)
        kind = fault.kind if fault else ""
        if fault is not None and kind in ("answer", "silence", "reset"):
            if fault.acted:
                self._ask(body).read()
            self.proxy._note(self.command, self.path, fault.status, fault)
            {"answer": self._answer, "silence": self._silence, "reset": self._reset}[kind](fault)
        elif fault is not None and kind == "expire":
            event = {"type": "ERROR", "object": _status(410, "too old resource version")}
            self._send(_Answer(200, (), json.dumps(event).encode() + b"\n"), fault)
        elif fault is not None and kind == "stale" and (old := self.proxy.first_answer(self.path)):
            self._send(old, fault)
        else:
            self._pass_on(body, fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

    def _ask(self, body: bytes | None) -> http.client.HTTPResponse:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        headers |= {"Host": "127.0.0.1", "Accept-Encoding": "identity"}
        self._behind.request(self.command, self.path, body=body, headers=headers)
        return self._behind.getresponse()

    def _pass_on(self, body: bytes | None, fault: _Fault | None) -> None:
        response = self._ask(body)
        kept = tuple((k, v) for k, v in response.getheaders() if k.lower() not in _HOP)
        if fault is not None and fault.then is not None:
            response_body = response.read()
            fault.then()
            self._send(_Answer(response.status, kept, response_body), fault)
        elif response.headers.get("Transfer-Encoding") or (fault and fault.kind == "cut"):
            self.proxy._note(self.command, self.path, response.status, fault)
            self._stream(response, kept, fault)
        else:
            answer = _Answer(response.status, kept, response.read())
            if self.command == "GET":
                self.proxy.first_answer(self.path, answer)
            self._send(answer, fault)

    def _stream(
        self,
        response: http.client.HTTPResponse,
        headers: tuple[tuple[str, str], ...],
        fault: _Fault | None,
    ) -> None:
        """Pass on as it comes, chunk by chunk, up to the cut."""
        self._head(response.status, headers, ("Transfer-Encoding", "chunked"))
        left = fault.lines if fault else -1
        while data := response.read1(65536):
            if fault is not None and data.count(b"\n") > left:
                at = -1
                for _ in range(left + 1):
                    at = data.index(b"\n", at + 1)
                start = data.rfind(b"\n", 0, at) + 1
                self._chunk(data[: start + (at - start) // 2])
                self.close_connection = True  # no reset: that would also take what was sent before
                return
            left -= data.count(b"\n")
            self._chunk(data)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def _send(self, answer: _Answer, fault: _Fault | None) -> None:
        self.proxy._note(self.command, self.path, answer.status, fault)
        self._head(answer.status, answer.headers, ("Content-Length", str(len(answer.body))))
        self.wfile.write(answer.body)

    def _head(
        self, status: int, headers: tuple[tuple[str, str], ...], last: tuple[str, str]
    ) -> None:
        self.send_response_only(status)
        for name, value in (*headers, last):
            self.send_header(name, value)
        self.end_headers()

    def _answer(self, fault: _Fault) -> None:
        body = json.dumps(_status(fault.status, fault.message)).encode()
        headers = (("Content-Type", "application/json"), *fault.headers.items())
        self._head(fault.status, headers, ("Content-Length", str(len(body))))
        self.wfile.write(body)

    def _silence(self, _fault: _Fault) -> None:
        """Wait until the client has gone away."""
        while not self.proxy.wait_closed(0.05):
            if select.select([self.connection], [], [], 0)[0]:
                break
        self.close_connection = True

    def _reset(self, _fault: _Fault) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _status(code: int, message: str) -> dict[str, object]:
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": _REASONS.get(code, ""), "code": code,
    }  # fmt: skip
