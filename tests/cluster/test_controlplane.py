"""The control plane itself: it starts, it is shared by nobody, and nothing of it is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cluster import build
from tests.cluster.api import wait_until
from tests.cluster.cluster import Cluster

pytestmark = pytest.mark.e2e

_OWNER = """
import sys, time
from pathlib import Path
from tests.cluster.build import binaries
from tests.cluster.cluster import Cluster, Machine
from tests.cluster.controlplane import ControlPlane
from tests.cluster.pods import python_pod
plane = ControlPlane(binaries()).start()
cluster = Cluster(Machine(plane.api, plane.kubeconfig, plane), Path(sys.argv[1]))
cluster.add_node("a")
cluster.create(python_pod("p", "import time; time.sleep(1000)  # " + sys.argv[1]))
cluster.wait_for_pod()
print(plane.folder, flush=True)
time.sleep(1000)
"""


def processes_of(*marks: str) -> list[int]:
    """Return the processes whose command line mentions one of ``marks``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            seen = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(mark in seen for mark in marks) and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def test_no_process_is_left_when_its_owner_is_killed(machine: object, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert owner.stdout is not None
    with owner, owner.stdout:
        folder = owner.stdout.readline().strip()
        marks = (folder, str(tmp_path))
        before = processes_of(*marks)
        owner.kill()
        owner.wait()
    assert folder.startswith("/")
    assert len(before) == 4 + 4 + 1 + 1  # components, their leashes, the pod, the owner
    wait_until("the end of all processes", lambda: not processes_of(*marks))


def test_components_are_real_and_report_their_version(cluster: Cluster) -> None:
    assert cluster.api.get("/version")["gitVersion"] == build.VERSION
    assert build.VERSION.removeprefix("v") in cluster.kubectl("version")


def test_a_component_can_be_stopped_and_started(cluster: Cluster) -> None:
    assert cluster.machine.plane is not None
    cluster.machine.plane.stop_component("kube-controller-manager")
    cluster.api.post("/api/v1/namespaces", {"metadata": {"name": f"{cluster.namespace}-b"}})
    account = f"/api/v1/namespaces/{cluster.namespace}-b/serviceaccounts/default"
    assert cluster.api.find(account) is None
    cluster.machine.plane.start_component("kube-controller-manager")
    wait_until("the controllers", lambda: cluster.api.find(account))


def test_an_account_may_do_what_its_rules_say(cluster: Cluster) -> None:
    kubeconfig = cluster.account("reader", [{"apiGroups": [""], "resources": ["pods"],
                                             "verbs": ["list"]}])  # fmt: skip
    asked = ("auth", "can-i", "--kubeconfig", str(kubeconfig), "--quiet=false")
    wait_until(
        "the rules to be known",
        lambda: cluster.kubectl(*asked, "list", "pods", check=False).strip() == "yes",
    )
    assert "no" in cluster.kubectl(*asked, "create", "pods", check=False)


def test_two_builders_at_once_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def compile_slowly(name: str, folder: Path) -> None:
        built.append(name)
        (folder / name).write_text("binary")
        (folder / name).chmod(0o755)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(build, "_build_one", compile_slowly)
    monkeypatch.setattr(build, "go_version", lambda: "go1.99")
    threads = [threading.Thread(target=build.build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == list(build.COMPONENTS)
    assert build.binaries().name.endswith("-go1.99")
    monkeypatch.setattr(build, "go_version", lambda: None)
    assert build.binaries().name.endswith("-go1.99")  # without Go, what is there is used


def test_assets_are_used_when_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    for name in build.COMPONENTS:
        (tmp_path / name).touch(mode=0o755)
    assert build.binaries() == tmp_path
    (tmp_path / "kube-scheduler").unlink()
    with pytest.raises(build.NotBuilt):
        build.binaries()
