"""Two S3 servers for tests, independent of each other: moto's, and rclone's over a directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.build import NotBuilt, cache, go_environment, go_version, locked

__all__ = ["moto", "rclone"]

KEY = "us-east-1"  # also the secret, and the region
_SOURCES = Path(__file__).with_name("rclone")
_PATIENCE = 60.0


@contextmanager
def moto(_: Path) -> Iterator[int]:
    """Run a moto server, which keeps all in memory; give the port that it listens on."""
    code = (
        "from moto.server import ThreadedMotoServer as S; import time; "
        "s = S('127.0.0.1', 0); s.start(); print(s.get_host_and_port()[1], flush=True); "
        "time.sleep(1e6)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield next(int(line) for line in process.stdout if line.strip().isdecimal())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def rclone(folder: Path) -> Iterator[int]:
    """Run ``rclone serve s3`` over a folder; give the port that it listens on.

    Raises:
        NotBuilt: neither the server nor Go is here.
    """
    port = _free_port()
    command = [
        str(_built()), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}",
        "--auth-key", f"{KEY},{KEY}", "--vfs-cache-mode", "off", "--config", os.devnull,
    ]  # fmt: skip
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.kill()
            process.wait()


def _built() -> Path:
    """Return the server; it is built once (two and a half minutes on two cores), then kept."""
    go = go_version()
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((_SOURCES / name).read_bytes())
    target = cache() / "rclone" / f"{digest.hexdigest()[:16]}-{go or 'any'}" / "rclone"
    if target.exists():
        return target
    if go is None:
        raise NotBuilt("no second S3 server is built here, and Go is not installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / ".lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                flags = ["-trimpath", "-ldflags", "-s -w"]
                print("building rclone; the first time takes minutes", file=sys.stderr, flush=True)
                subprocess.run(
                    ["go", "build", *flags, "-o", f"{folder}/rclone", "."],
                    cwd=_SOURCES, env=go_environment(), check=True, stdout=sys.stderr,
                )  # fmt: skip
                shutil.move(f"{folder}/rclone", target)
    return target


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
