"""What containers print: kept with the time of each line, served as a kubelet serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

from .https import HttpsServer

__all__ = ["Log", "LogServer"]


class Log:
    """The lines of one container, and the time in nanoseconds at which each came."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []
        self._change = threading.Condition()
        self._closed = False

    def read_from(self, pipe: BinaryIO) -> None:
        """Take lines from a pipe until it ends."""
        with pipe:
            for line in pipe:
                with self._change:
                    self._lines.append((time.time_ns(), line))
                    self._change.notify_all()
        self.close()

    def close(self) -> None:
        """Say that no line will follow."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def text(self) -> str:
        """Return everything so far."""
        return b"".join(line for _, line in self._lines).decode(errors="replace")

    def stream(self, start: int, *, follow: bool) -> Iterator[tuple[int, bytes]]:
        """Yield lines from number ``start`` on, and with ``follow`` those to come."""
        number = start
        while True:
            with self._change:
                while follow and number >= len(self._lines) and not self._closed:
                    self._change.wait()
                new = self._lines[number:]
            if not new:
                return
            yield from new
            number += len(new)

    def start_of(self, tail: int | None, since_ns: int) -> int:
        """Return the number of the first line of the last ``tail`` that is not before a time."""
        first = next((n for n, (at, _) in enumerate(self._lines) if at >= since_ns), None)
        first = len(self._lines) if first is None else first
        return first if tail is None else max(first, len(self._lines) - tail)


@dataclass(frozen=True)
class _Wanted:
    """The options of a request for logs."""

    follow: bool
    timestamps: bool
    tail: int | None
    since_ns: int
    limit: int | None

    @staticmethod
    def read(query: str) -> _Wanted:
        found = {key: values[-1] for key, values in parse_qs(query).items()}
        since = 0
        if "sinceSeconds" in found:
            since = time.time_ns() - int(found["sinceSeconds"]) * 10**9
        if "sinceTime" in found:
            moment = datetime.fromisoformat(found["sinceTime"].replace("Z", "+00:00"))
            since = int(moment.timestamp()) * 10**9
        return _Wanted(
            follow=found.get("follow") == "true",
            timestamps=found.get("timestamps") == "true",
            tail=int(found["tailLines"]) if "tailLines" in found else None,
            since_ns=since,
            limit=int(found["limitBytes"]) if "limitBytes" in found else None,
        )


class LogServer:
    """HTTPS on loopback: ``/containerLogs/NAMESPACE/POD/CONTAINER``."""

    def __init__(
        self, find: Callable[[str, str, str], Log | None], certificate: Path, key: Path
    ) -> None:
        """Serve the logs that ``find`` knows by namespace, pod and container."""

        class Handler(_Handler):
            log_of = staticmethod(find)

        self._server = HttpsServer(Handler, certificate, key)
        self.port = self._server.port

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log_of: Callable[[str, str, str], Log | None]

    def do_GET(self) -> None:  # the name that http.server asks for
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        log = type(self).log_of(*parts[1:]) if len(parts) == 4 else None
        if log is None:
            self.send_error(404, "no such container")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._send(log, _Wanted.read(url.query))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, log: Log, wanted: _Wanted) -> None:
        left = wanted.limit
        start = log.start_of(wanted.tail, wanted.since_ns)
        for at, line in log.stream(start, follow=wanted.follow):
            data = (_stamp(at) + b" " if wanted.timestamps else b"") + line
            if left is not None:
                data, left = data[:left], left - len(data)
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            if left is not None and left <= 0:
                return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _stamp(nanoseconds: int) -> bytes:
    """Return RFC 3339 with nine digits, as a kubelet writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()
