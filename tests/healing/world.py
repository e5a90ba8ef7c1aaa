"""A small cluster within the real one: nodes behind a label of their own, and one namespace.

Many of them stand side by side on one control plane. Each job asks for its world's label, so the
real scheduler sees only these nodes, and the snapshot is cut down to them in the same way.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpukit.cluster.client import Client
from gpukit.cluster.snapshot import read_snapshot
from gpukit.diagnose import ClusterSnapshot, Fix, Verdict, why
from tests.cluster.api import Api, ApiError, Json
from tests.samples import bundle

__all__ = ["WALL", "World"]

WALL = "gpukit.test/world"
_ZONE = "topology.kubernetes.io/zone"
_PATIENCE = 90.0
_SECRETS = {"TOKEN": "not a real one", "VALUE": "x"}


class World:
    """One case: its nodes, its namespace, the options of its job.

    Attributes:
        name: of the world and its namespace.
        nodes: bodies of the nodes by name, changed by faults before they are made.
        options: of the job.
        labels: of the namespace.
        before: what faults do between the namespace and the job.
        after: what faults do once the job's pod has a node, by the name of what they do.
        suspend: the Job is created suspended, as Kueue's webhook does.
    """

    def __init__(
        self, name: str, api: Api, client: Client, kubeconfig: Path, kubectl: Path
    ) -> None:
        self.name, self.api, self.client = name, api, client
        self._kubeconfig, self._kubectl = kubeconfig, kubectl
        self.nodes: dict[str, Json] = {}
        self.options: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], None]] = []
        self.suspend = False
        self.run = ""
        self.said: list[str] = []

    # ------------------------------------------------------------ building

    def add(self, body: Json) -> None:
        """Take a node of tests/cluster/fleet.py into the world."""
        name = f"{self.name}-{body['metadata']['name']}"
        labels = {**body["metadata"]["labels"], WALL: self.name, _ZONE: "zone-a",
                  "kubernetes.io/hostname": name}  # fmt: skip
        allocatable = {"pods": "110", **body["status"]["allocatable"]}
        taints = [dict(taint) for taint in body["spec"].get("taints", ())]
        spec = {**body["spec"], "taints": taints}
        self.nodes[name] = {
            "metadata": {"name": name, "labels": labels}, "spec": spec,
            "status": {"allocatable": allocatable},
        }  # fmt: skip

    def build(self) -> None:
        """Make the nodes and the namespace."""
        for body in self.nodes.values():
            self._make_node(body)
        self.api.post(
            "/api/v1/namespaces", {"metadata": {"name": self.name, "labels": self.labels}}
        )
        account = f"/api/v1/namespaces/{self.name}/serviceaccounts/default"
        self._until("the namespace's account", lambda: self.api.find(account) is not None)
        for act in self.before:
            act()
        for name in self.nodes:
            self._until(f"node {name}", lambda name=name: self._usable(name))  # type: ignore[misc]

    def _make_node(self, body: Json) -> None:
        name = body["metadata"]["name"]
        self.api.post("/api/v1/nodes", {"metadata": body["metadata"], "spec": body["spec"]})
        status = {
            "allocatable": body["status"]["allocatable"],
            "capacity": body["status"]["allocatable"],
            "conditions": [_ready("True")],
        }
        self.api.patch(f"/api/v1/nodes/{name}/status", {"status": status})

    def _usable(self, name: str) -> bool:
        found = self.api.get(f"/api/v1/nodes/{name}")
        taints = {taint["key"] for taint in found["spec"].get("taints", ())}
        return "node.kubernetes.io/not-ready" not in taints

    def silence(self, node: str) -> None:
        """Let a node fall silent; its pods are told to go, as the taint manager would tell them."""
        self.api.patch(
            f"/api/v1/nodes/{node}/status", {"status": {"conditions": [_ready("Unknown")]}},
            "strategic-merge-patch",
        )  # fmt: skip
        for pod in self._pods():
            if pod["spec"].get("nodeName") == node:
                self.api.delete(self.path("pods", pod["metadata"]["name"]))

    def path(self, plural: str, name: str = "", group: str = "/api/v1") -> str:
        """Return the path of objects of the namespace."""
        base = f"{group}/namespaces/{self.name}/{plural}"
        return f"{base}/{name}" if name else base

    # ------------------------------------------------------------ the run

    def submit(self) -> None:
        """Create what is rendered for the options; what was there before goes."""
        self.remove()
        declared = dict(self.options)
        selector = {**declared.pop("node_selector", {}), WALL: self.name}
        made = bundle(
            job=declared.pop("name", "train"), nodes=list(self.nodes.values()),
            namespace=self.name, node_selector=selector, **declared,
        )  # fmt: skip
        for body in made.to_dicts():
            kind = {"ConfigMap": "configmaps", "PersistentVolumeClaim": "persistentvolumeclaims"}
            if body["kind"] == "Job":
                body["spec"]["suspend"] = self.suspend and bool(declared.get("queue"))
                self.api.post(
                    self.path("jobs", group="/apis/batch/v1"), body, fieldValidation="Strict"
                )
            else:
                self._ensure(self.path(kind[body["kind"]]), body)
        self.run = made.run

    def _ensure(self, path: str, body: Json) -> None:
        try:
            self.api.post(path, body)
        except ApiError as error:
            if error.code != 409:
                raise

    def remove(self) -> None:
        """Delete the Jobs and pods of the namespace at once."""
        for path in (self.path("jobs", group="/apis/batch/v1"), self.path("pods")):
            self.api.delete(path, gracePeriodSeconds=0, propagationPolicy="Background")

    def close(self) -> None:
        """Remove what stands in the way of other worlds: pods and nodes."""
        self.remove()
        for name in self.nodes:
            self.api.delete(f"/api/v1/nodes/{name}")

    def _pods(self) -> list[Json]:
        items = self.api.items(self.path("pods"))
        own = [
            i for i in items if i["metadata"].get("labels", {}).get("gpukit.dev/run") == self.run
        ]
        return [i for i in own if i["status"].get("phase") not in ("Failed", "Succeeded")]

    @property
    def placed(self) -> bool:
        """Tell whether the scheduler has given the run's newest pod a node that is alive."""
        pods = [pod for pod in self._pods() if "deletionTimestamp" not in pod["metadata"]]
        return bool(pods) and all(pod["spec"].get("nodeName") for pod in pods)

    def settle(self, seconds: float = 20.0) -> bool:
        """Wait until it is clear how it stands; tell whether the pod has a node."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.placed:
                return True
            if self._stuck():
                break
            time.sleep(0.1)
        return self.placed

    def _stuck(self) -> bool:
        """Tell whether somebody has said that it does not go on."""
        job = self.api.find(self.path("jobs", self.run, "/apis/batch/v1"))
        if job is None or job["spec"].get("suspend"):
            return True
        pods = self._pods()
        if not pods:
            fields = f"involvedObject.name={self.run},reason=FailedCreate"
            return bool(self.api.items(self.path("events"), fieldSelector=fields))
        if any("deletionTimestamp" in pod["metadata"] for pod in pods):
            return True
        conditions = [c for pod in pods for c in pod["status"].get("conditions", ())]
        return any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions)

    # ------------------------------------------------------------ diagnosis and cure

    def snapshot(self) -> ClusterSnapshot:
        """Return what gpukit sees, with the nodes of this world alone."""
        found = read_snapshot(self.run, self.name, client=self.client)
        own = tuple(node for node in found.nodes if node.labels.get(WALL) == self.name)
        return replace(found, nodes=own)

    def verdict(self) -> Verdict | None:
        """Return what gpukit says of the run."""
        return why(self.snapshot(), self.run)

    def apply(self, fix: Fix) -> None:
        """Do what a fix says, to the letter."""
        if fix.kind == "options":
            self._change(fix.options)
            self.submit()
            return
        self._type(fix.line)
        for name, body in self.nodes.items():
            self._cut(name, body)

    def _change(self, changes: Any) -> None:
        for name, value in changes.items():
            if value is None:
                self.options.pop(name, None)
            elif isinstance(value, dict) and name != "pod":
                merged = {**self.options.get(name, {}), **value}
                self.options[name] = {k: v for k, v in merged.items() if v is not None}
            else:
                self.options[name] = value

    def _type(self, line: str) -> None:
        config = json.loads(self._kubeconfig.read_text(encoding="utf-8"))
        config["contexts"][0]["context"]["namespace"] = self.name
        own = self._kubeconfig.with_name(f"kubeconfig-{self.name}")
        own.write_text(json.dumps(config), encoding="utf-8")
        env = {**os.environ, **_SECRETS, "KUBECONFIG": str(own),
               "PATH": f"{self._kubectl.parent}:{os.environ['PATH']}"}  # fmt: skip
        done = subprocess.run(
            ["bash", "-euc", line], env=env, capture_output=True, text=True, check=False
        )
        own.unlink()
        if done.returncode:
            self.said.append(f"$ {line}\n{done.stdout}{done.stderr}")

    def _cut(self, name: str, body: Json) -> None:
        """Do what the GPU Operator's MIG manager does when a node is labelled."""
        found = self.api.find(f"/api/v1/nodes/{name}") or body
        config = found["metadata"]["labels"].get("nvidia.com/mig.config", "")
        if not config.startswith("all-") or config in ("all-disabled", "all-balanced"):
            return
        gone: dict[str, Any] = {
            key: None for key in found["status"]["allocatable"] if key.startswith("nvidia.com/")
        }
        new = {**gone, f"nvidia.com/mig-{config.removeprefix('all-')}": "7"}
        self.api.patch(
            f"/api/v1/nodes/{name}/status", {"status": {"allocatable": new, "capacity": new}}
        )

    def _until(self, what: str, look: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE
        while not look():
            assert time.monotonic() < until, f"{self.name} waited in vain for {what}"
            time.sleep(0.05)


def _ready(status: str) -> Json:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    reason = "KubeletReady" if status == "True" else "NodeStatusUnknown"
    return {
        "type": "Ready", "status": status, "reason": reason, "lastHeartbeatTime": now,
        "lastTransitionTime": now, "message": "",
    }  # fmt: skip
