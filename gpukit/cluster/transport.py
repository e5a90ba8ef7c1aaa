"""HTTP to one API server: connections that are kept, plain bytes in and out, and streams."""

from __future__ import annotations

import http.client
import os
import ssl
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gpukit.errors import ClusterError

from .kubeconfig import Access

__all__ = ["BrokenError", "Response", "Stream", "Transport"]

_BLOCK = 1 << 16


class BrokenError(Exception):
    """The connection failed: it may be that the server acted, and that it did not."""


@dataclass(frozen=True)
class Response:
    """A whole answer; ``warnings`` are the texts of its Warning headers."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    warnings: tuple[str, ...] = ()


@dataclass
class Stream:
    """An answer whose body is read as it comes, line by line.

    ``complete`` tells, after the last line, that the server has ended it, and no broken connection.
    """

    status: int
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    complete: bool = False
    closed: bool = False

    def lines(self) -> Iterator[bytes]:
        """Yield the lines with their ends, the last one as far as it came.

        Raises:
            BrokenError: the connection broke, or nothing came for as long as the time-out.
        """
        rest = b""
        try:
            while block := self.response.read1(_BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield line + b"\n"
            self.complete = True
        except _FAILURES as error:
            if not self.closed:
                raise BrokenError(_words(error)) from None
        finally:
            self.close()
        if rest:
            yield rest

    def close(self) -> None:
        """Close it; safe to call from another thread, whose reader then ends."""
        self.closed = True
        with suppress(OSError, AttributeError):
            if self.connection.sock is not None:
                self.connection.sock.shutdown(2)
        with suppress(OSError):
            self.connection.close()


_FAILURES = (OSError, http.client.HTTPException, ssl.SSLError, ValueError)


@dataclass
class Transport:
    """Connections to the API server; safe to use from several threads.

    Args:
        access: where it is, and who we are.
        environ: proxies are taken from it.
    """

    access: Access
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def __post_init__(self) -> None:
        url = urlsplit(self.access.server)
        self._secure = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._secure else 80)
        self._base = url.path.rstrip("/")
        self._proxy = self._find_proxy()
        self._context: ssl.SSLContext | None = None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float
    ) -> Response:
        """Send a request and return the whole answer.

        Raises:
            BrokenError: there was no (whole) answer.
        """
        connection, kept = self._take(timeout)
        try:
            response = self._send(connection, method, path, body, headers)
            if response is None and kept:  # the server had closed what was kept
                connection = self._connect(timeout)
                response = self._send(connection, method, path, body, headers)
            if response is None:
                raise BrokenError("the connection was closed")
            data = response.read()
        except _FAILURES as error:
            connection.close()
            raise BrokenError(_words(error)) from None
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        raw = response.headers.get_all("Warning") or []
        return Response(
            response.status, {k.lower(): v for k, v in response.headers.items()}, data,
            tuple(_warning(text) for text in raw),
        )  # fmt: skip

    def stream(self, path: str, headers: Mapping[str, str], timeout: float) -> Stream:
        """Send a GET and return its answer as a stream; ``timeout`` is the longest silence.

        Raises:
            BrokenError: there was no answer.
        """
        connection = self._connect(timeout)
        try:
            response = self._send(connection, "GET", path, None, headers)
        except _FAILURES as error:
            connection.close()
            raise BrokenError(_words(error)) from None
        if response is None:
            raise BrokenError("the connection was closed")
        return Stream(response.status, connection, response)

    def forget(self) -> None:
        """Drop what is kept: the next connection is made anew, with the newest certificate."""
        with self._lock:
            idle, self._idle, self._context = self._idle, [], None
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        """Close what is kept, so that no socket is left to the garbage collector."""
        with suppress(Exception):
            self.forget()

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse | None:  # fmt: skip
        """Return the head of the answer; None where the connection was closed before it."""
        try:
            connection.request(method, self._base + path, body, dict(headers))
            return connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            connection.close()
            return None

    def _take(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            return self._connect(timeout), False
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection, True

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self._proxy or (self._host, self._port)
        if self._secure:
            connection: http.client.HTTPConnection = _Secure(
                host, port, timeout, self._tls(), self.access.tls_name
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        if self._proxy:
            connection.set_tunnel(self._host, self._port)
        return connection

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._make_tls()
            return self._context

    def _make_tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=self.access.authority)
            if self.access.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            pair = self.access.credentials.certificate()
            if pair is not None:
                _load_pair(context, *pair)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ClusterError(
                "cluster-certificate", f"a certificate of the kubeconfig cannot be used: {error}",
                "log in again, as for kubectl",
            ) from None  # fmt: skip
        return context

    def _find_proxy(self) -> tuple[str, int] | None:
        """Return the proxy to go through, by the rules of kubectl: never for this machine."""
        url = self.access.proxy
        if url is None:
            name = "https_proxy" if self._secure else "http_proxy"
            url = self.environ.get(name) or self.environ.get(name.upper())
            none = self.environ.get("no_proxy") or self.environ.get("NO_PROXY") or ""
            local = self._host in ("localhost", "::1") or self._host.startswith("127.")
            bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]
            if not url or local or bypass(self._host, {"no": none}):
                return None
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClusterError(
                "cluster-proxy", f"the proxy {url} cannot be used: not an HTTP proxy",
                "set https_proxy, or proxy-url of the kubeconfig, to http://HOST:PORT",
            )  # fmt: skip
        return parts.hostname, parts.port or 80


class _Secure(http.client.HTTPSConnection):
    """A connection whose certificate may be expected to have another name than the host's."""

    def __init__(
        self, host: str, port: int, timeout: float, context: ssl.SSLContext, name: str | None
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls_context = context
        self._tls_name = name
        self._target = host

    def set_tunnel(
        self, host: str, port: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Go through the proxy to ``host``."""
        self._target = host
        super().set_tunnel(host, port, dict(headers or {}))

    def connect(self) -> None:
        """Connect, and look at the certificate."""
        http.client.HTTPConnection.connect(self)
        name = self._tls_name or self._target
        self.sock = self._tls_context.wrap_socket(self.sock, server_hostname=name)


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a certificate and key; Python reads them from files only."""
    with tempfile.TemporaryDirectory(prefix="gpukit-") as folder:
        path = os.path.join(folder, "pair.pem")  # noqa: PTH118 - beside os.open
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{certificate.strip()}\n{key.strip()}\n")
        context.load_cert_chain(path)


def _warning(header: str) -> str:
    """Return the text of ``299 - "text"``."""
    _, quote, text = header.partition('"')
    return text.rpartition('"')[0].replace('\\"', '"') if quote else header


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
