"""Checkpoints in a real S3 server process on loopback, also one that fails or is slow."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from gpukit.runtime.checkpoint import setup
from gpukit.runtime.checkpoint.arena_engine import ArenaEngine
from gpukit.runtime.checkpoint.engine import Failed, FencedError, SyncEngine, Writer
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.record import RunRecord, Start
from gpukit.runtime.store import open_store
from tests.cluster.build import NotBuilt
from tests.runtime import s3servers

pytestmark = pytest.mark.e2e
PATIENCE = 120.0


class Proxy(ThreadingHTTPServer):
    """Passes requests on to the server, unless it is told to fail."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.behind = port
        self.failures: list[int] = []  # a status for each of the next requests that write
        self.hold = threading.Event()
        self.hold.set()
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Pass(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        proxy = self.server
        writes = self.command in ("PUT", "POST")
        proxy.seen.append(f"{self.command} {self.path}")
        if writes:
            proxy.hold.wait(PATIENCE)
        if writes and proxy.failures:
            status = proxy.failures.pop(0)
            self._answer(status, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        connection = http.client.HTTPConnection("127.0.0.1", proxy.behind, timeout=PATIENCE)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        self._answer(answer.status, dict(answer.getheaders()), data)
        connection.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        length = headers.pop("Content-Length", str(len(data)))
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module", params=["moto", "rclone"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Each of two servers that have nothing in common; the port that it listens on."""
    run = {"moto": s3servers.moto, "rclone": s3servers.rclone}[request.param]
    with ExitStack() as stack:
        try:
            port = stack.enter_context(run(tmp_path_factory.mktemp("buckets")))
        except NotBuilt as reason:
            pytest.skip(str(reason))
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    made = Proxy(server)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with suppress(FileExistsError):
        s3fs.S3FileSystem().mkdir("bucket")
    yield made
    made.hold.set()
    made.shutdown()
    made.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


def where(tmp_path: Path) -> str:
    return f"s3://bucket/{tmp_path.name}"


def open_arena(location: str) -> ArenaEngine:
    engine = setup.open_engine(None, location, 2)
    assert isinstance(engine, ArenaEngine)
    return engine


def newest(location: str) -> Any:
    found = SyncEngine(open_store(location), Writer("reader", 0)).load_newest()
    assert found is not None
    return found


def test_checkpoints_are_saved_kept_and_read_there(proxy: Proxy, tmp_path: Path) -> None:
    location, engine = where(tmp_path), open_arena(where(tmp_path))
    large = torch.rand(10_000_000)  # 40 MB: more than one part
    for step in (1, 2, 3):
        engine.save(step, {"large": large, "step": step})
    found = newest(location)
    assert found.state["step"] == 3
    assert torch.equal(found.state["large"], large)
    names = checkpoint_names(open_store(location).list(FOLDER), complete=False)
    assert [name.step for name in names] == [3, 2]
    assert any("uploadId" in request and "PUT" in request for request in proxy.seen)
    second = open_arena(location)
    with pytest.raises(FencedError):
        engine.save(4, {"step": 4})
    assert newest(location).state["step"] == 3
    engine.close()
    second.close()


def test_of_many_creates_one_wins(proxy: Proxy, tmp_path: Path, server: int) -> None:
    stores = [open_store(where(tmp_path)) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda s: RunRecord(s).begin(Start(pod_uid=str(id(s)))), stores))
    assert sorted(numbers) == list(range(1, 9))


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_fails_for_a_moment_is_tried_again(
    proxy: Proxy, tmp_path: Path, status: int
) -> None:
    engine = open_arena(where(tmp_path))
    engine.save(1, {"step": 1})
    proxy.failures = [status] * 7
    engine.save(2, {"step": 2})
    assert proxy.failures == []
    assert newest(where(tmp_path)).state["step"] == 2
    engine.close()


def test_a_store_that_hangs_holds_up_no_training(proxy: Proxy, tmp_path: Path) -> None:
    engine = open_arena(where(tmp_path))
    engine.save(1, {"step": 1})
    proxy.hold.clear()
    assert engine.begin(2, {"step": 2}) == ""
    assert "step 2 is not durable yet" in engine.begin(3, {"step": 3})
    assert not engine.wait(0.5)
    assert newest(where(tmp_path)).state["step"] == 1
    proxy.hold.set()
    assert engine.wait(PATIENCE)
    assert not any(isinstance(outcome, Failed) for outcome in engine.outcomes())
    assert newest(where(tmp_path)).state["step"] == 2
    engine.close()
