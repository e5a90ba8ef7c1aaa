"""The cluster as a test sees it: a namespace of its own, nodes that it adds, and their pods."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from .api import Api, ApiError, Json, wait_until
from .controlplane import ControlPlane, write_kubeconfig
from .kubelet import Kubelet
from .node import Node
from .pods import python_pod
from .storage import Storage

__all__ = ["Cluster", "Machine"]

_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{ns}/configmaps",
    "Secret": "/api/v1/namespaces/{ns}/secrets",
    "PersistentVolumeClaim": "/api/v1/namespaces/{ns}/persistentvolumeclaims",
    "Pod": "/api/v1/namespaces/{ns}/pods",
    "ResourceQuota": "/api/v1/namespaces/{ns}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{ns}/limitranges",
    "ServiceAccount": "/api/v1/namespaces/{ns}/serviceaccounts",
    "Job": "/apis/batch/v1/namespaces/{ns}/jobs",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}/rolebindings",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
_numbers = itertools.count(1)


class Machine:
    """What lasts over the tests of a process: the control plane, the kubelet, the storage.

    With ``GPUKIT_TEST_KUBECONFIG`` only ``api`` and ``kubeconfig`` are there: the nodes of a
    cluster that belongs to somebody are not ours to add.
    """

    def __init__(self, api: Api, kubeconfig: Path, plane: ControlPlane | None = None) -> None:
        self.api = api
        self.kubeconfig = kubeconfig
        self.plane = plane
        self.kubelet: Kubelet | None = None
        self.storage: Storage | None = None
        if plane is not None:
            self.kubelet = Kubelet(api, plane.folder, plane.ca, plane.key).start()
            volumes = plane.folder / "volumes"
            self.storage = Storage(api, volumes, self.kubelet.trouble).start()

    def stop(self) -> None:
        """End everything."""
        if self.storage is not None:
            self.storage.stop()
        if self.kubelet is not None:
            self.kubelet.stop()
        if self.plane is not None:
            self.plane.stop()


class Cluster:
    """One test's cluster.

    Attributes:
        api: the API server, as its administrator.
        namespace: of this test.
        kubeconfig: of the administrator, with that namespace; ``KUBECONFIG`` names it.
        folder: for files of the test.
    """

    def __init__(self, machine: Machine, folder: Path, *, namespace: str = "") -> None:
        self.machine = machine
        self.api = machine.api
        self.folder = folder
        self.namespace = namespace or f"test-{time.time_ns() // 10**6 % 10**8}-{next(_numbers)}"
        self._made: list[str] = []
        self.create_namespace(self.namespace)
        self.kubeconfig = folder / "kubeconfig"
        self._write_kubeconfig()

    def _write_kubeconfig(self) -> None:
        import yaml

        content = yaml.safe_load(self.machine.kubeconfig.read_text(encoding="utf-8"))
        current = content["current-context"]
        for context in content["contexts"]:
            if context["name"] == current:
                context["context"]["namespace"] = self.namespace
        self.kubeconfig.write_text(yaml.safe_dump(content), encoding="utf-8")
        self.kubeconfig.chmod(0o600)

    # ------------------------------------------------------------ objects

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace and wait until pods can be created in it."""
        body = {"metadata": {"name": name, "labels": dict(labels or {})}}
        self._made.append(f"/api/v1/namespaces/{name}")
        with contextlib.suppress(ApiError):
            self.api.post("/api/v1/namespaces", body)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_until("the namespace's account", lambda: self.api.find(account), every=0.02)

    def path(self, kind: str, name: str = "", namespace: str = "") -> str:
        """Return the path of a kind, or of one object of it."""
        base = _PATHS[kind].format(ns=namespace or self.namespace)
        return f"{base}/{name}" if name else base

    def create(self, *items: Json) -> list[Json]:
        """Create objects, unknown fields refused; those of no namespace go with the test."""
        made = []
        for item in items:
            kind, metadata = item["kind"], item["metadata"]
            path = self.path(kind, namespace=metadata.get("namespace") or "")
            made.append(self.api.post(path, item, fieldValidation="Strict"))
            if "{ns}" not in _PATHS[kind]:
                self._made.append(f"{path}/{metadata['name']}")
        return made

    def refusal(self, item: Json) -> str:
        """Return why the API server would not create an object; "" where it would.

        What it judges by, labels of a namespace or classes of priority, it learns through a watch,
        a moment after they were written: a test waits for the answer that it needs.
        """
        try:
            self.api.post(self.path(item["kind"]), item, dryRun="All")
        except ApiError as error:
            return error.message
        return ""

    def enforce_restricted(self) -> None:
        """Have PodSecurity refuse pods that are not "restricted", and wait until it does."""
        path = f"/api/v1/namespaces/{self.namespace}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.api.patch(path, {"metadata": {"labels": labels}})
        plain = python_pod("plain", "")
        wait_until("a refusal", lambda: "violates PodSecurity" in self.refusal(plain))

    def get(self, kind: str, name: str) -> Json:
        """Return an object of the test's namespace."""
        return self.api.get(self.path(kind, name))

    def items(self, kind: str, selector: str = "") -> list[Json]:
        """Return the objects of a kind in the test's namespace."""
        query = {"labelSelector": selector} if selector else {}
        return self.api.items(self.path(kind), **query)

    def pods(self, selector: str = "", *, phase: str = "", live: bool = False) -> list[Json]:
        """Return pods, oldest first; ``live``: neither ended nor being deleted."""
        found = sorted(
            self.items("Pod", selector), key=lambda p: str(p["metadata"]["creationTimestamp"])
        )
        if phase:
            found = [pod for pod in found if pod["status"].get("phase") == phase]
        if live:
            found = [p for p in found if not p["metadata"].get("deletionTimestamp")]
            found = [p for p in found if p["status"].get("phase") not in ("Succeeded", "Failed")]
        return found

    def conditions(self, kind: str, name: str) -> dict[str, Json]:
        """Return the conditions of an object that hold, by type."""
        found = self.get(kind, name).get("status", {}).get("conditions", [])
        return {c["type"]: c for c in found if c["status"] == "True"}

    def wait_for_job(self, name: str, condition: str = "Complete", **options: Any) -> Json:
        """Wait until a Job is Complete or Failed; return the condition that is asked for.

        Fails at once when the Job ends the other way.
        """

        def ended() -> dict[str, Json]:
            found = self.conditions("Job", name)
            return found if {"Complete", "Failed"} & set(found) else {}

        found = wait_until(f"the end of job {name}", ended, **options)
        assert condition in found, f"job {name} is not {condition}: {found}"
        return found[condition]

    def wait_for_pod(self, selector: str = "", phase: str = "Running", **options: Any) -> Json:
        """Wait until a pod is in a phase (and not being deleted); return it."""
        live = phase in ("Pending", "Running")

        def found() -> Json | None:
            return next(iter(self.pods(selector, phase=phase, live=live)), None)

        return wait_until(f"a pod {selector} {phase}", found, **options)

    def log(self, pod: str, container: str = "main") -> str:
        """Return what a container has printed, as the API server serves it."""
        return self.api.text(f"{self.path('Pod', pod)}/log", container=container)

    # ------------------------------------------------------------ nodes

    @property
    def kubelet(self) -> Kubelet:
        """The test kubelet; on somebody's cluster there is none, and the test is skipped."""
        if self.machine.kubelet is None:
            pytest.skip("needs nodes of its own, and GPUKIT_TEST_KUBECONFIG names a cluster")
        return self.machine.kubelet

    @property
    def images(self) -> Any:
        """The images that can be pulled."""
        return self.kubelet.images

    def add_node(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        devices: Mapping[str, int] | None = None,
        taints: Iterable[Json] = (),
        cpu: str = "16",
        memory: str = "64Gi",
    ) -> Node:
        """Add a node and wait until it is ready."""
        counts = {key: str(count) for key, count in (devices or {}).items()}
        item = {
            "metadata": {"name": name, "labels": dict(labels or {})},
            "spec": {"taints": list(taints)},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, **counts}},
        }
        return self.add_nodes(item)[0]

    def add_nodes(self, *items: Json) -> list[Node]:
        """Add nodes as tests/nodes.py and fleet.py describe them, and wait until they are ready."""
        added = [self.kubelet.add(item) for item in items]
        return [node.wait_ready() for node in added]

    def node(self, name: str) -> Node:
        """Return a node that was added."""
        return self.kubelet.node(name)

    # ------------------------------------------------------------ what happens to pods

    def evict(self, pod: Json | str) -> None:
        """Evict a pod through the API."""
        self.kubelet.evict(self.get("Pod", pod) if isinstance(pod, str) else pod)

    def kill(self, pod: Json | str, container: str = "main", *, oom: bool = False) -> None:
        """Send SIGKILL to a container's first process; with ``oom`` it is OOMKilled."""
        name = pod if isinstance(pod, str) else pod["metadata"]["name"]
        self.kubelet.pod(name, self.namespace).containers[container].kill(oom=oom)

    def claim_folder(self, claim: str) -> Path:
        """Return the folder of a bound claim on this machine."""
        assert self.machine.storage is not None
        return self.machine.storage.folder_of(self.namespace, claim)

    # ------------------------------------------------------------ access

    def account(self, name: str, rules: list[Json] | None = None) -> Path:
        """Make a service account with rules in the namespace; return a kubeconfig of it."""
        self.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        if rules:
            group = "rbac.authorization.k8s.io"
            subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
            self.create(
                {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name},
                 "rules": rules},
                {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": name},
                 "subjects": [subject],
                 "roleRef": {"apiGroup": group, "kind": "Role", "name": name}},
            )  # fmt: skip
        answer = self.api.post(self.path("ServiceAccount", name) + "/token", {"spec": {}})
        plane = self.machine.plane
        if plane is None:
            pytest.skip("needs a control plane of its own")
        return write_kubeconfig(
            self.folder / f"kubeconfig-{name}", plane.url, plane.ca, answer["status"]["token"],
            namespace=self.namespace,
        )  # fmt: skip

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        """Run kubectl in the namespace; return what it prints."""
        from .build import binaries

        command = [str(binaries() / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else done.stdout + done.stderr

    def close(self) -> None:
        """Undo what the test has made: nodes and pods at once, the rest in the background."""
        kubelet = self.machine.kubelet
        if kubelet is not None:
            for node in kubelet.nodes:
                node.vanish()
        for path in reversed(self._made):
            namespace = path.startswith("/api/v1/namespaces/")
            if namespace:
                for kind in ("Job", "Pod"):
                    self._delete_all(f"{_PATHS[kind].format(ns=path.rpartition('/')[2])}")
            self.api.delete(path)
        if kubelet is not None:
            kubelet.images.reset()
            troubles, kubelet.troubles[:] = list(kubelet.troubles), []
            assert not troubles, troubles

    def _delete_all(self, path: str) -> None:
        with contextlib.suppress(ApiError):
            self.api.delete(path, gracePeriodSeconds=0, propagationPolicy="Background")
