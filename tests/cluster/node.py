"""A node of the test cluster, as a test drives it."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .api import ApiError, Json, wait_until

if TYPE_CHECKING:
    from .kubelet import Kubelet

__all__ = ["Node", "node_object"]

HEARTBEAT = 2.0  # seconds
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_NOTHING = {
    "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "test://1", "bootID": "",
    "machineID": "", "systemUUID": "", "kubeProxyVersion": "", "operatingSystem": "linux",
    "architecture": "amd64", "kubeletVersion": "v1.37.2",
}  # fmt: skip


class Node:
    """A Node object and the machine behind it.

    The machine may be cut off from the API server (:meth:`fall_silent`) or lose its power
    (:meth:`power_off`); the object stays until somebody deletes it.
    """

    def __init__(self, kubelet: Kubelet, item: Json) -> None:
        self._kubelet = kubelet
        self._api = kubelet.api
        self.name = str(item["metadata"]["name"])
        self.path = f"/api/v1/nodes/{self.name}"
        self._on = threading.Event()
        self._on.set()
        self._item = item
        self.powered = True
        self.create()

    def create(self) -> None:
        """Register the node, as a kubelet does when it starts."""
        item = node_object(self._item)
        self._api.post("/api/v1/nodes", {**item, "status": {}})
        self._report(item["status"])

    @property
    def reachable(self) -> bool:
        """Whether it talks to the API server."""
        return self.powered and self._on.is_set()

    def connected(self) -> None:
        """Wait until the node is not cut off."""
        self._on.wait()

    def fall_silent(self) -> None:
        """Cut it off: no heartbeat, no status, no obedience; its containers go on."""
        self._on.clear()

    def come_back(self) -> None:
        """End the silence; pods that were deleted meanwhile are ended now."""
        self._on.set()
        self.heartbeat()
        self._kubelet.resync()

    def power_off(self) -> None:
        """Lose the machine: its processes end without a word, and the object stays."""
        self.powered = False
        self._kubelet.lose(self.name)
        self._on.set()

    def vanish(self) -> None:
        """Lose the machine and its object, as when a cloud takes an instance back."""
        self.power_off()
        self.delete()

    def delete(self) -> None:
        """Delete the object."""
        self._kubelet.forget(self.name)
        self._api.delete(self.path)

    def cordon(self, on: bool = True) -> None:
        """Let no new pod come."""
        self._api.patch(self.path, {"spec": {"unschedulable": on}})

    def drain(self) -> None:
        """Cordon, and evict every pod, as ``kubectl drain`` does."""
        self.cordon()
        for pod in self._api.items("/api/v1/pods", fieldSelector=f"spec.nodeName={self.name}"):
            self._kubelet.evict(pod)

    def taint(self, key: str, value: str = "", effect: str = "NoSchedule") -> None:
        """Add a taint."""
        taint = {"key": key, "effect": effect, **({"value": value} if value else {})}
        body = {"spec": {"taints": [taint]}}
        self._api.patch(self.path, body, "strategic-merge-patch")

    def untaint(self, key: str) -> None:
        """Remove the taints with a key."""
        spec = self._api.get(self.path)["spec"]
        left = [taint for taint in spec.get("taints", []) if taint["key"] != key]
        self._api.patch(self.path, {"spec": {"taints": left or None}})

    def label(self, **labels: str | None) -> None:
        """Set labels (``label(**{"a/b": "c"})``); None removes one."""
        self._api.patch(self.path, {"metadata": {"labels": labels}})

    def ready(self) -> bool:
        """Tell whether pods can come: it is ready, and that has been noticed."""
        found = self._api.get(self.path)
        states = {c["type"]: c["status"] for c in found["status"].get("conditions", [])}
        taints = {taint["key"] for taint in found["spec"].get("taints", [])}
        return states.get("Ready") == "True" and not taints & {
            "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
        }  # fmt: skip

    def wait_ready(self) -> Node:
        """Wait until pods can come."""
        wait_until(f"node {self.name} to be ready", self.ready)
        return self

    def wait_silence_noticed(self) -> Node:
        """Wait until the node is known not to answer."""
        wait_until(f"node {self.name} to be not ready", lambda: not self.ready())
        return self

    def heartbeat(self) -> None:
        """Renew the lease; after a silence also say that all is well."""
        if not self.reachable:
            return
        now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}"
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now}
        body = {"metadata": {"name": self.name}, "spec": spec}
        try:
            try:
                self._api.patch(f"{_LEASES}/{self.name}", body)
            except ApiError as error:
                if error.code != 404:
                    raise
                lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **body}
                self._api.post(_LEASES, lease)
            self._report_again()
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _report_again(self) -> None:
        """Say that all is well when the controllers have come to think otherwise."""
        conditions = self._api.get(self.path)["status"].get("conditions", [])
        if any(c["type"] == "Ready" and c["status"] != "True" for c in conditions):
            self._report({})

    def _report(self, status: Json) -> None:
        now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        good = {
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }  # fmt: skip
        pressure = [
            {**good, "type": kind, "status": "False", "reason": "KubeletHasEnough"}
            for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
        ]
        whole = {
            **status,
            "conditions": [good, *pressure],
            "nodeInfo": {**_NOTHING, **status.get("nodeInfo", {})},
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._kubelet.port}},
        }
        self._api.patch(f"{self.path}/status", {"status": whole}, "strategic-merge-patch")


def node_object(item: Json) -> Json:
    """Return a whole Node from what tests say of it: labels, taints and allocatable."""
    metadata = item["metadata"]
    usual = {"kubernetes.io/hostname": metadata["name"], "kubernetes.io/os": "linux",
             "kubernetes.io/arch": "amd64"}  # fmt: skip
    plenty = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    allocatable = {**plenty, **item.get("status", {}).get("allocatable", {})}
    labels = {**usual, **metadata.get("labels", {})}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {**metadata, "labels": labels},
        "spec": item.get("spec", {}),
        "status": {
            "allocatable": allocatable,
            "capacity": item.get("status", {}).get("capacity", allocatable),
            "nodeInfo": {"architecture": labels["kubernetes.io/arch"]},
        },
    }
