"""The client against a server that misbehaves: what is retried, for how long, and what is said."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gpukit.cluster.client import Client
from gpukit.cluster.errors import ApiError
from gpukit.cluster.kubeconfig import Access
from gpukit.cluster.transport import BrokenError
from gpukit.errors import ClusterError

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "ns"}}


class Server:
    """Answers each request with the next of its ``answers``; the last one stays."""

    def __init__(self) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.asked: list[str] = []
        self.headers: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append(f"{self.command} {self.path}")
                outer.headers.append(self.headers)
                answers = outer.answers
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def says(status: int, body: object = None, **headers: str) -> Callable[[Any], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = json.dumps({} if body is None else body).encode()
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def resets(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.close_connection = True
    handler.connection.close()


def chunks(*parts: bytes, cut: bool) -> Callable[[Any], None]:
    """Send a chunked body; with ``cut`` the connection ends before the last, empty chunk."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        if not cut:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    return answer


def client(server: Server, **options: Any) -> tuple[Client, list[float], list[str]]:
    pauses: list[float] = []
    told: list[str] = []
    found = Client(
        Access(server.url, "x", "ns"), tell=told.append, pause=pauses.append, **options
    )  # fmt: skip
    return found, pauses, told


@pytest.mark.parametrize("trouble", [says(500), says(503), says(504), resets])
def test_trouble_of_the_server_is_waited_out(
    server: Server, trouble: Callable[[Any], None]
) -> None:
    found, pauses, _ = client(server)
    server.answers = [says(200), trouble, trouble, says(200, {"kind": "Job"})]
    found.version()
    assert found.create(JOB) == {"kind": "Job"}
    assert pauses == [0.2, 0.4][: len(pauses)]
    assert pauses
    assert server.asked[-1].startswith("POST /apis/batch/v1/namespaces/ns/jobs?fieldValidation=Str")


def test_retry_after_is_kept_and_a_long_wait_is_told(server: Server) -> None:
    found, pauses, told = client(server)
    server.answers = [says(429, Retry_After="7"), says(200, {"items": []})]
    assert found.list("Job", "ns") == []
    assert pauses == [7.0]
    assert told == [
        "the API server answers 429; trying again for up to 60 s: list Job objects"
    ]  # fmt: skip


def test_patience_has_an_end_with_the_servers_words(server: Server) -> None:
    found, _, _ = client(server, patience=0.0)
    server.answers = [says(503, {"message": "etcd is away"})]
    with pytest.raises(ClusterError, match="etcd is away"):
        found.get("Job", "j", "ns")


def test_nobody_there_is_said_soon() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    pauses: list[float] = []
    with pytest.raises(ClusterError) as caught:
        Client(Access(url, "x", "ns"), pause=pauses.append).version()
    assert caught.value.id == "cluster-unreachable"
    assert sum(pauses) == 0 or max(pauses) < 4


@pytest.mark.parametrize(
    ("status", "message", "id", "hint"),
    [
        (403, 'jobs.batch is forbidden: User "u" cannot create resource "jobs" in API group '
         '"batch" in the namespace "ns"', "cluster-forbidden",
         'the verb create on jobs (API group "batch")'),
        (403, 'jobs.batch "j" is forbidden: exceeded quota: q, requested: count/jobs.batch=1',
         "cluster-quota", "ResourceQuota"),
        (403, "policy says no", "cluster-refused", "admission"),
        (401, "Unauthorized", "cluster-login", "log in again"),
        (422, 'Job.batch "j" is invalid: spec.x: Required value', "cluster-invalid", "pod="),
        (400, 'strict decoding error: unknown field "spec.x"', "cluster-invalid", "pod="),
        (409, "the object has been modified", "cluster-conflict", "try again"),
    ],
)  # fmt: skip
def test_refusals_keep_the_servers_words(
    server: Server, status: int, message: str, id: str, hint: str
) -> None:
    found, pauses, _ = client(server)
    server.answers = [says(status, {"message": message, "reason": "Why"})]
    with pytest.raises(ApiError) as caught:
        found.create(JOB)
    assert (caught.value.id, caught.value.status, caught.value.reason) == (id, status, "Why")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(server.asked) == 1
    assert pauses == []


class Renewing:
    """Credentials whose first token has expired."""

    def __init__(self) -> None:
        self.token = "old"

    def header(self) -> str | None:
        return f"Bearer {self.token}"

    def certificate(self) -> None:
        return None

    def renew(self) -> bool:
        self.token = "new"
        return True


def test_an_expired_token_is_renewed_once(server: Server) -> None:
    found = Client(Access(server.url, "x", "ns", credentials=Renewing()))
    server.answers = [says(401), says(200, {"kind": "Job"})]
    assert found.get("Job", "j", "ns") == {"kind": "Job"}
    assert [h["Authorization"] for h in server.headers] == ["Bearer old", "Bearer new"]
    server.answers = [says(401)]
    with pytest.raises(ApiError):
        Client(Access(server.url, "x", "ns", credentials=Renewing())).version()


def test_what_is_not_there_is_none_and_deleting_it_says_so(server: Server) -> None:
    found, _, _ = client(server)
    server.answers = [says(404, {"message": "not found"})]
    assert found.get("Pod", "p", "ns") is None
    assert found.delete("Pod", "p", "ns") is False


def test_a_list_whose_page_has_expired_begins_again(server: Server) -> None:
    found, _, _ = client(server)
    page = {"items": [{"n": 1}], "metadata": {"continue": "c"}}
    last: dict[str, Any] = {"items": [{"n": 2}], "metadata": {}}
    server.answers = [says(200, page), says(410, {"reason": "Expired"}), says(200, page),
                      says(200, last)]  # fmt: skip
    assert found.list("Job", "ns", labels="a=b") == [{"n": 1}, {"n": 2}]
    assert "labelSelector=a%3Db" in server.asked[0]


def test_warnings_of_the_server_are_kept_once(server: Server) -> None:
    found, _, _ = client(server)
    text = 'would violate PodSecurity "restricted:latest"'
    quoted = text.replace('"', '\\"')
    server.answers = [says(201, JOB, Warning=f'299 - "{quoted}"')]
    found.create(JOB, dry_run=True)
    found.create(JOB)
    assert found.warnings == [text]


def test_a_log_that_ends_and_one_that_is_cut(server: Server) -> None:
    found, _, _ = client(server)
    server.answers = [chunks(b"one\ntw", b"o\n", cut=False), chunks(b"one\ntw", cut=True)]
    stream = found.logs("p", "ns", container="main", follow=True)
    assert list(stream.lines()) == [b"one\n", b"two\n"]
    assert stream.complete
    cut = found.logs("p", "ns", container="main", since="2026-01-01T00:00:00Z", tail=5)
    got: list[bytes] = []
    with pytest.raises(BrokenError):
        got.extend(cut.lines())
    assert not cut.complete
    assert "sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=5" in server.asked[-1]


def test_a_watch_yields_changes_and_says_when_it_is_too_old(server: Server) -> None:
    found, _, _ = client(server)
    added = json.dumps({"type": "ADDED", "object": {"n": 1}}).encode() + b"\n"
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    server.answers = [chunks(added, json.dumps(gone).encode() + b"\n", cut=False)]
    changes = iter(found.watch("Job", "ns", "5"))
    assert next(changes) == ("ADDED", {"n": 1})
    with pytest.raises(ApiError) as caught:
        next(changes)
    assert caught.value.status == 410
