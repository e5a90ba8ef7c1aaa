"""The tests' own HTTPS server: a client that goes away leaves no socket behind."""

from __future__ import annotations

import gc
import socket
import struct
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from .https import HttpsServer


def test_a_client_that_resets_its_connection_before_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unclosed socket would be a warning, and so fail this test."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=me",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    seen, reset = threading.Semaphore(0), threading.Event()
    finish = HttpsServer.finish_request

    def late(self: HttpsServer, request: object, client_address: object) -> None:
        assert reset.wait(60)
        try:
            finish(self, request, client_address)
        finally:
            seen.release()

    monkeypatch.setattr(HttpsServer, "finish_request", late)
    server = HttpsServer(BaseHTTPRequestHandler, certificate, key)
    for _ in range(3):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    reset.set()
    for _ in range(3):
        assert seen.acquire(timeout=60)
    server.stop()
    gc.collect()
