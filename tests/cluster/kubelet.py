"""The test kubelet: runs the pods that are bound to the nodes of a test."""

from __future__ import annotations

import itertools
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import urllib3

from .api import Api, ApiError, Json
from .images import Images
from .logs import Log, LogServer
from .node import HEARTBEAT, Node
from .pod import PodLife

__all__ = ["Kubelet"]


class Kubelet:
    """One for all nodes: they differ in name, and in whether they can be reached.

    Attributes:
        images: which names of images there are.
        port: where logs are served.
        troubles: what went wrong inside the kubelet; a test's fixture looks at it.
    """

    def __init__(self, api: Api, folder: Path, certificate: Path, key: Path) -> None:
        self.api = api
        self.folder = folder
        self.images = Images()
        self.troubles: list[str] = []
        self._logs = LogServer(self._find_log, certificate, key)
        self.port = self._logs.port
        self._nodes: dict[str, Node] = {}
        self._pods: dict[str, PodLife] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._numbers = itertools.count(1)

    def start(self) -> Kubelet:
        """Begin to watch and to send heartbeats."""
        for target in (self._watch, self._beat):
            threading.Thread(target=target, daemon=True).start()
        return self

    def stop(self) -> None:
        """End every container and stop."""
        self._stop.set()
        for name in list(self._nodes):
            self.lose(name)
        self._logs.close()

    def add(self, item: Json) -> Node:
        """Register a node; it is not ready at once (:meth:`Node.wait_ready`)."""
        node = Node(self, item)
        with self._lock:
            self._nodes[node.name] = node
        node.heartbeat()
        return node

    def node(self, name: str) -> Node:
        """Return a node by name."""
        return self._nodes[name]

    @property
    def nodes(self) -> list[Node]:
        """All nodes."""
        return list(self._nodes.values())

    def pod(self, name: str, namespace: str) -> PodLife:
        """Return a pod that runs here, or ran and whose object is still there."""
        for life in reversed(list(self._pods.values())):
            metadata = life.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return life
        raise KeyError(f"no pod {namespace}/{name} on the nodes of this test")

    def lose(self, node: str) -> None:
        """End the processes of a node's pods; nothing is reported."""
        for uid, life in list(self._pods.items()):
            if life.node.name == node:
                self._pods.pop(uid)
                life.power_off()

    def forget(self, node: str) -> None:
        """The node's object goes away. Its pods' processes go on until they are ended."""
        with self._lock:
            self._nodes.pop(node, None)

    def evict(self, pod: Json) -> None:
        """Evict a pod through the API, as kubectl drain and autoscalers do."""
        metadata = pod["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": name, "namespace": namespace}}  # fmt: skip
        self.api.post(f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body)

    def resync(self) -> None:
        """Look at all pods again, after a silence."""
        self._listed(self.api.get("/api/v1/pods"))

    def trouble(self, what: str) -> None:
        """Keep what went wrong."""
        if not self._stop.is_set():
            self.troubles.append(what)
            print(f"test kubelet: {what}", file=sys.stderr)

    def event(self, pod: Json, kind: str, reason: str, message: str) -> None:
        """Write an event about a pod."""
        metadata = pod["metadata"]
        now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        body = {
            "apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason,
            "message": message, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
            "metadata": {
                "generateName": f"{metadata['name']}.", "namespace": metadata["namespace"],
            },
            "source": {"component": "kubelet", "host": pod["spec"].get("nodeName", "")},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "name": metadata["name"],
                "namespace": metadata["namespace"], "uid": metadata["uid"],
            },
        }  # fmt: skip
        try:
            self.api.post(f"/api/v1/namespaces/{metadata['namespace']}/events", body)
        except ApiError as error:
            if error.code not in (403, 404, 409):  # the namespace is going away
                raise

    def _watch(self) -> None:
        for kind, found in self.api.watch("/api/v1/pods", self._stop):
            try:
                if kind == "LISTED":
                    self._listed(found)
                elif kind == "DELETED":
                    self._deleted(found["metadata"]["uid"])
                elif kind in ("ADDED", "MODIFIED"):
                    self._saw(found)
            except (ApiError, urllib3.exceptions.HTTPError) as error:
                self.trouble(repr(error))

    def _listed(self, found: Json) -> None:
        items = found["items"] or []
        for pod in items:
            self._saw(pod)
        known = {pod["metadata"]["uid"] for pod in items}
        for uid in set(self._pods) - known:
            self._deleted(uid)

    def _saw(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        with self._lock:
            life = self._pods.get(uid)
            node = self._nodes.get(pod["spec"].get("nodeName", ""))
            if life is None and node is not None and node.reachable and not _ended(pod):
                life = self._pods[uid] = PodLife(self, node, pod)
                life.saw(pod)
                life.start()
            elif life is not None and life.node.reachable:
                life.saw(pod)
        if life is None and node is not None and node.reachable and _ended(pod):
            self._take_away(pod)

    def _take_away(self, pod: Json) -> None:
        """Remove the object of a pod that ended before this kubelet knew it."""
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
            self.api.delete(path, body)

    def _deleted(self, uid: str) -> None:
        life = self._pods.get(uid)
        if life is not None and life.node.reachable:
            self._pods.pop(uid, None)
            life.gone()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            for node in self.nodes:
                try:
                    node.heartbeat()
                except (ApiError, urllib3.exceptions.HTTPError) as error:
                    self.trouble(f"heartbeat of {node.name}: {error!r}")

    def _find_log(self, namespace: str, pod: str, container: str) -> Log | None:
        try:
            life = self.pod(pod, namespace)
        except KeyError:
            return None
        found = life.containers.get(container)
        return found.log if found is not None and life.node.reachable else None


def _ended(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
