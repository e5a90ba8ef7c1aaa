"""The proxy does to requests what it is told, and to no others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
import urllib3

from tests.cluster.api import Json, wait_until
from tests.cluster.cluster import Cluster
from tests.cluster.pods import python_pod
from tests.cluster.proxy import FaultProxy

pytestmark = pytest.mark.e2e


class Client:
    """A client that tries once, and says what happened to it."""

    def __init__(self, cluster: Cluster, proxy: FaultProxy) -> None:
        plane = cluster.machine.plane
        assert plane is not None
        self.pool = urllib3.PoolManager(ca_certs=str(plane.ca), retries=False)
        self.headers = {"Authorization": f"Bearer {plane.token}"}
        self.url = proxy.url
        self.maps = f"/api/v1/namespaces/{cluster.namespace}/configmaps"

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", self.url + path, headers=self.headers, timeout=20)

    def create(self, name: str, patience: float = 20) -> int | str:
        body = json.dumps({"metadata": {"name": name}}).encode()
        timeout = urllib3.Timeout(connect=20, read=patience)
        try:
            answer = self.pool.request(
                "POST", self.url + self.maps, body=body, headers=self.headers, timeout=timeout
            )
        except urllib3.exceptions.HTTPError as error:
            return type(error).__name__
        return answer.status


@pytest.fixture
def client(cluster: Cluster, proxy: FaultProxy) -> Iterator[Client]:
    found = Client(cluster, proxy)
    yield found
    found.pool.clear()


def names(cluster: Cluster) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.items("ConfigMap")} - {"kube-root-ca.crt"}


def test_without_a_fault_it_only_passes_on(
    cluster: Cluster, proxy: FaultProxy, client: Client
) -> None:
    assert client.create("a") == 201
    assert names(cluster) == {"a"}
    assert cluster.kubectl("--kubeconfig", str(proxy.kubeconfig), "get", "cm", "-oname").count("/")
    assert (proxy.seen[0].method, proxy.seen[0].path) == ("POST", client.maps)


def test_answers_are_used_up_and_fit_by_method_and_path(
    cluster: Cluster, proxy: FaultProxy, client: Client
) -> None:
    proxy.answer(429, headers={"Retry-After": "1"}, method="POST", path="/configmaps", times=2)
    proxy.answer(503, path="/secrets", times=-1)
    assert client.get(client.maps).status == 200
    assert [client.create("a") for _ in range(3)] == [429, 429, 201]
    assert names(cluster) == {"a"}
    assert proxy.pending() == 1


def test_an_answer_after_the_server_has_acted(
    cluster: Cluster, proxy: FaultProxy, client: Client
) -> None:
    proxy.answer(500, method="POST", acted=True)
    assert client.create("a") == 500
    assert names(cluster) == {"a"}


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize(("kind", "error"), [("silence", "ReadTimeoutError"),
                                             ("reset", "ProtocolError")])  # fmt: skip
def test_no_answer(
    cluster: Cluster, proxy: FaultProxy, client: Client, kind: str, error: str, acted: bool
) -> None:
    getattr(proxy, kind)(method="POST", acted=acted)
    assert client.create("a", patience=3 if kind == "silence" else 20) == error
    wait_until("it to act", lambda: names(cluster) == {"a"} or not acted)
    assert names(cluster) == ({"a"} if acted else set())
    assert client.create("b") == 201


def test_a_stream_is_cut_within_a_line(cluster: Cluster, proxy: FaultProxy, client: Client) -> None:
    cluster.add_node("a")
    cluster.create(python_pod("p", "for i in range(5000): print(f'line {i}')"))
    cluster.wait_for_pod(phase="Succeeded")
    proxy.cut(path="/log", lines=3000)
    path = cluster.path("Pod", "p") + "/log?follow=true"
    stream = client.pool.request(
        "GET", client.url + path, headers=client.headers, preload_content=False
    )
    received, error = b"", ""
    try:
        while part := stream.read1(1024):
            received += part
    except urllib3.exceptions.HTTPError as broken:
        error = type(broken).__name__
    stream.close()
    assert error == "ProtocolError"
    assert received.count(b"\n") == 3000
    assert not received.endswith(b"\n")
    assert client.get(path).data.count(b"\n") == 5000


def test_a_watch_expires(cluster: Cluster, proxy: FaultProxy, client: Client) -> None:
    proxy.expire()
    event: Json = json.loads(client.get(f"{client.maps}?watch=true").data)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


def test_a_stale_read(cluster: Cluster, proxy: FaultProxy, client: Client) -> None:
    path = f"{client.maps}/a"
    assert client.get(path).status == 404
    assert client.create("a") == 201
    proxy.stale(path="/configmaps/a")
    assert [client.get(path).status for _ in range(2)] == [404, 200]


def test_something_happens_after_the_nth_request(
    cluster: Cluster, proxy: FaultProxy, client: Client
) -> None:
    called = threading.Event()
    proxy.call(called.set, nth=2, method="POST")
    client.create("a")
    assert not called.is_set()
    client.create("b")
    assert called.is_set()
    assert names(cluster) == {"a", "b"}
