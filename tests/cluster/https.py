"""An HTTPS server on loopback, a thread for each connection."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["HttpsServer"]


class _Socket(ssl.SSLSocket):
    """Closed when it is forgotten: of a client that is gone before the handshake begins.

    ``wrap_socket`` then raises, and drops the socket that it has made (Python 3.11, ``_create``).
    """

    def __del__(self) -> None:
        self.close()


class HttpsServer(ThreadingHTTPServer):
    """Serves from the start on, on a free ``port``."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[BaseHTTPRequestHandler], certificate: Path, key: Path) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.sslsocket_class = _Socket
        self._context.load_cert_chain(certificate, key)
        self.port = int(self.server_address[1])
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Accept nothing more."""
        self.shutdown()
        self.server_close()

    def finish_request(self, request: object, client_address: object) -> None:
        """Do the handshake in the connection's own thread, so that nobody blocks the others."""
        wrapped = self._context.wrap_socket(request, server_side=True)  # type: ignore[arg-type]
        with wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""
