"""The test kubelet is faithful: what a container sees, and how its end is told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Json, wait_until
from tests.cluster.cluster import Cluster
from tests.cluster.pods import python_pod

pytestmark = pytest.mark.e2e

_ASK = "import json, os; from pathlib import Path; print(json.dumps({}))"


def ask(cluster: Cluster, expressions: str, **pod: Any) -> Json:
    """Run a pod that prints what ``{name: expression}`` gives; return that."""
    cluster.add_node("a")
    cluster.create(python_pod("p", _ASK.replace("{}", expressions), **pod))
    wait_until(
        "the pod's end", lambda: cluster.pods(phase="Succeeded") + cluster.pods(phase="Failed")
    )
    answer: Json = json.loads(cluster.log("p"))
    return answer


def status(cluster: Cluster, pod: str = "p") -> Json:
    """Return the state of the pod's first container; empty before there is one."""
    found = cluster.get("Pod", pod)["status"].get("containerStatuses", [])
    state: Json = found[0]["state"] if found else {}
    return state


def test_the_command_is_alone_and_pid_1_on_a_root_of_its_own(cluster: Cluster) -> None:
    seen = ask(
        cluster,
        """{"pid": os.getpid(), "uid": os.getuid(), "groups": sorted(os.getgroups()),
            "all": [p for p in os.listdir("/proc") if p.isdigit()], "host": os.uname().nodename,
            "root": Path("/made-here").write_text("x"), "tmp": os.listdir("/tmp"),
            "checkout": os.path.exists("CHECKOUT"), "shm": os.access("/dev/shm", os.W_OK),
            "new": "NoNewPrivs:\\t1" in Path("/proc/self/status").read_text()}""".replace(
            "CHECKOUT", __file__
        ),
        container={
            "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": False},
        },
        securityContext={"supplementalGroups": [77], "fsGroup": 1000},
        hostname="worker-0",
    )
    assert (seen["pid"], seen["all"], seen["host"]) == (1, ["1"], "worker-0")
    groups = [77, 1000] if os.geteuid() == 0 else []  # without root no group can be added
    assert (seen["uid"], seen["groups"], seen["new"]) == (0, groups, True)
    assert (seen["tmp"], seen["checkout"], seen["shm"]) == ([], False, True)
    assert not Path("/made-here").exists()


def test_user_and_read_only_root(cluster: Cluster) -> None:
    seen = ask(
        cluster,
        """{"uid": os.getuid(), "gid": os.getgid(), "tmp": os.access("/tmp", os.W_OK),
            "root": os.access("/", os.W_OK), "opt": os.access("/opt", os.W_OK)}""",
        container={"securityContext": {"readOnlyRootFilesystem": True}},
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True},
    )
    assert seen == {"uid": 1000, "gid": 1000, "tmp": True, "root": False, "opt": False}


def test_volumes(cluster: Cluster) -> None:
    cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"},
         "data": {"a.txt": "text"},
         "binaryData": {"b.bin": base64.b64encode(b"\x00\xff").decode()}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
         "stringData": {"token": "s3cret"}},
    )  # fmt: skip
    mounts = [
        {"name": "code", "mountPath": "/code", "readOnly": True},
        {"name": "code", "mountPath": "/one.txt", "subPath": "a.txt"},
        {"name": "key", "mountPath": "/key"},
        {"name": "pod", "mountPath": "/pod"},
        {"name": "disk", "mountPath": "/disk"},
        {"name": "memory", "mountPath": "/memory"},
    ]
    downward = {"path": "labels/all", "fieldRef": {"fieldPath": "metadata.annotations['task']"}}
    item = python_pod(
        "p",
        _ASK.replace(
            "{}",
            """{"a": Path("/code/a.txt").read_text(), "b": Path("/code/b.bin").read_bytes().hex(),
                "one": Path("/one.txt").read_text(), "key": Path("/key/token").read_text(),
                "pod": Path("/pod/labels/all").read_text(),
                "disk": Path("/disk/x").write_text("x"),
                "memory": Path("/memory/x").write_text("x"),
                "size": os.statvfs("/memory").f_blocks * os.statvfs("/memory").f_frsize,
                "code": os.access("/code", os.W_OK), "group": os.stat("/disk").st_gid}""",
        ),
        container={"volumeMounts": mounts},
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        volumes=[
            {"name": "code", "configMap": {"name": "code"}},
            {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
            {"name": "pod", "downwardAPI": {"items": [downward]}},
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        ],
    )
    item["metadata"]["annotations"] = {"task": '{"x": 1}'}
    cluster.add_node("a")
    cluster.create(item)
    wait_until("the pod's end", lambda: "terminated" in status(cluster))
    assert json.loads(cluster.log("p")) == {
        "a": "text", "b": "00ff", "one": "text", "key": "s3cret", "pod": '{"x": 1}', "disk": 1,
        "memory": 1, "size": 8 << 20, "code": False, "group": 1000,
    }  # fmt: skip


def test_environment(cluster: Cluster) -> None:
    cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"A": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"B": "2"}},
    )  # fmt: skip
    limits = {"resource": "limits.memory", "divisor": "1Mi"}
    env: list[Json] = [
        {"name": "PLAIN", "value": "x"},
        {"name": "REFERS", "value": "$(PLAIN)-$(NOBODY)-$$(PLAIN)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": limits}},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "A"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "B"}}},
        {"name": "NO", "valueFrom": {"secretKeyRef": {"name": "x", "key": "B", "optional": True}}},
    ]
    sources = [{"prefix": "ALL_", "configMapRef": {"name": "c"}}]
    seen = ask(
        cluster,
        "dict(os.environ)",
        container={
            "env": env, "envFrom": sources,
            "resources": {"limits": {"memory": "3Mi"}, "requests": {"memory": "3Mi"}},
        },
    )  # fmt: skip
    expected = {
        "PLAIN": "x", "REFERS": "x-$(NOBODY)-$(PLAIN)", "NAME": "p", "NODE": "a", "MEMORY": "3",
        "C": "1", "S": "2", "ALL_A": "1",
    }  # fmt: skip
    assert {key: seen.get(key) for key in expected} == expected
    assert "NO" not in seen
    assert not {"KUBECONFIG", "PYTEST_CURRENT_TEST"} & set(seen)


def test_a_claim_outlives_its_pods(cluster: Cluster) -> None:
    cluster.add_node("a")
    cluster.create(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
         "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    )  # fmt: skip
    for name in ("first", "second"):
        cluster.create(
            python_pod(
                name, "print(open('/data/x', 'a+').write('x'), open('/data/x').read())",
                container={"volumeMounts": [{"name": "d", "mountPath": "/data"}]},
                volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}],
                securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            )
        )  # fmt: skip
        cluster.wait_for_pod(phase="Succeeded")
        cluster.api.delete(cluster.path("Pod", name))
        wait_until("the object to go", lambda: not cluster.pods())
    assert (cluster.claim_folder("c") / "x").read_text() == "xx"
    folder = cluster.claim_folder("c")
    cluster.api.delete(cluster.path("PersistentVolumeClaim", "c"))
    wait_until("the volume to be reclaimed", lambda: not folder.exists())


@pytest.mark.parametrize(
    ("code", "exit_code", "reason", "message"),
    [
        ("print('done')", 0, "Completed", ""),
        ("raise SystemExit(64)", 64, "Error", ""),
        ("open('/dev/termination-log', 'w').write('bye'); raise SystemExit(3)", 3, "Error", "bye"),
        ("open('/dev/termination-log', 'w').write('x' * 9999)", 0, "Completed", "x" * 4096),
        ("import ctypes; ctypes.string_at(0)", 139, "Error", ""),
    ],
)
def test_how_an_end_is_told(
    cluster: Cluster, code: str, exit_code: int, reason: str, message: str
) -> None:
    cluster.add_node("a")
    cluster.create(python_pod("p", code, container={"terminationMessagePolicy": "File"}))
    ended = wait_until("the end", lambda: status(cluster).get("terminated"))
    told = (ended["exitCode"], ended["reason"], ended.get("message", ""))
    assert told == (exit_code, reason, message)
    phase = "Succeeded" if exit_code == 0 else "Failed"
    assert cluster.get("Pod", "p")["status"]["phase"] == phase


@pytest.mark.parametrize(("oom", "reason"), [(False, "Error"), (True, "OOMKilled")])
def test_killed(cluster: Cluster, oom: bool, reason: str) -> None:
    cluster.add_node("a")
    cluster.create(python_pod("p", "import time; time.sleep(1000)"))
    cluster.kill(cluster.wait_for_pod(), oom=oom)
    ended = wait_until("the end", lambda: status(cluster).get("terminated"))
    assert (ended["exitCode"], ended["reason"]) == (137, reason)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"container": {"image": "ghcr.io/nobody/nothing:1"}}, "ImagePullBackOff", "nothing:1"),
        ({"container": {"command": ["/no/such"]}}, "StartError", "/no/such"),
        ({"container": {"securityContext": {"runAsNonRoot": True}}},
         "CreateContainerConfigError", "runAsNonRoot"),
        ({"container": {"envFrom": [{"secretRef": {"name": "gone"}}]}},
         "CreateContainerConfigError", 'secret "gone" not found'),
        ({"volumes": [{"name": "v", "secret": {"secretName": "gone"}}]},
         "ContainerCreating", 'secret "gone" not found'),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]},
         "ContainerCreating", "does not mount hostPath"),
    ],
)  # fmt: skip
def test_what_keeps_a_container_from_starting(
    cluster: Cluster, change: dict[str, Any], reason: str, words: str
) -> None:
    cluster.add_node("a")
    cluster.create(python_pod("p", "", **change))

    def told() -> bool:
        states = status(cluster)
        reasons = [state.get("reason") for state in states.values()]
        events = cluster.api.items(f"/api/v1/namespaces/{cluster.namespace}/events")
        said = json.dumps([states, *(event["message"] for event in events)])
        return reason in reasons and words in said.replace('\\"', '"')

    wait_until(reason, told)


def test_init_containers_run_before_and_may_fail(cluster: Cluster) -> None:
    first = python_pod("x", "raise SystemExit(5)")["spec"]["containers"][0] | {"name": "first"}
    cluster.add_node("a")
    cluster.create(python_pod("p", "print('never')", initContainers=[first]))
    cluster.wait_for_pod(phase="Failed")
    found = cluster.get("Pod", "p")["status"]
    assert found["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 5


def test_a_sidecar_keeps_the_pod_running(cluster: Cluster) -> None:
    item = python_pod("p", "print('done')")
    sidecar = python_pod("x", "import time; time.sleep(1000)")["spec"]["containers"][0]
    item["spec"]["containers"].append(sidecar | {"name": "sidecar"})
    cluster.add_node("a")
    cluster.create(item)

    def states() -> dict[str, Json]:
        found = cluster.get("Pod", "p")["status"].get("containerStatuses", [])
        return {c["name"]: c["state"] for c in found}

    wait_until("the end of main", lambda: "terminated" in states().get("main", {}))
    assert "running" in states()["sidecar"]
    assert cluster.get("Pod", "p")["status"]["phase"] == "Running"


AS_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def test_all_of_this_also_without_root() -> None:
    if os.geteuid() != 0 or subprocess.run([*AS_USER, "true"], check=False).returncode != 0:
        pytest.skip("the tests run without root anyway, or the machine has no user namespaces")
    chosen = "volumes or pid_1 or read_only or environment or killed or how_an_end"
    done = subprocess.run(
        [*AS_USER, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__,
         "-k", chosen],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
