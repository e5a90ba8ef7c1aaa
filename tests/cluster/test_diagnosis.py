"""``gpukit why`` and ``gpukit doctor`` on real Kubernetes: real events, real kubelet states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpukit.cli.main import main
from tests.cluster.api import wait_until
from tests.cluster.cluster import Cluster
from tests.samples import bundle

pytestmark = pytest.mark.e2e

_SLICE = "nvidia.com/mig-1g.10gb"
_LABELS = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
_STORE = {"checkpoints": "s3://bucket/runs"}


def submit(cluster: Cluster, **options: Any) -> str:
    """Create a run as it is rendered; return its name."""
    declared = {"profile": "mig-1g.10gb", "namespace": cluster.namespace, **options}
    made = bundle(**declared)
    cluster.create(*made.to_dicts())
    return made.run


def said(run: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what ``gpukit why -o json`` prints."""
    capsys.readouterr()
    code = main(["why", run, "-o", "json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (0 if found["verdict"] is None else 3)
    return found


def verdict(run: str, id: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Wait until a verdict is said; return it."""

    def look() -> dict[str, Any] | None:
        found = said(run, capsys)["verdict"]
        return found if found is not None and found["id"] == id else None

    return wait_until(f"the verdict {id}", look, every=0.5)


def test_an_image_that_does_not_exist(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.add_node("rack-1", labels=_LABELS, devices={_SLICE: 7})
    run = submit(cluster, image="nobody/nothing:1", **_STORE)
    found = verdict(run, "image-not-found", capsys)
    assert "nobody/nothing:1" in found["reason"]
    assert found["fix"]["options"] == {"image": None}


def test_a_secret_that_is_missing_and_then_made_by_the_printed_command(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add_node("rack-1", labels=_LABELS, devices={_SLICE: 7})
    run = submit(cluster, secrets={"TOKEN": "wandb/key"}, **_STORE)
    found = verdict(run, "secret-missing", capsys)
    command = [word.replace("$TOKEN", "not-a-secret") for word in found["fix"]["command"]]
    cluster.kubectl(*command[1:])
    wait_until("no verdict on the Secret", lambda: _other(run, "secret-missing", capsys))


def _other(run: str, id: str, capsys: pytest.CaptureFixture[str]) -> bool:
    found = said(run, capsys)["verdict"]
    return found is None or found["id"] != id


def test_pods_that_pod_security_refuses(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.enforce_restricted()
    run = submit(cluster, pod={"hostNetwork": True}, **_STORE)
    found = verdict(run, "pod-security", capsys)
    assert found["fix"]["options"] == {"pod": None}
    cluster.api.delete(cluster.path("ConfigMap", "gpukit-code-0123456789abcdef"))
    healthy = submit(cluster, **_STORE)
    assert verdict(healthy, "no-nodes", capsys)  # its pod is there: nothing refuses it


def test_a_node_that_falls_silent(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.add_node("rack-1", labels=_LABELS, devices={_SLICE: 7})
    cluster.add_node("rack-2")
    cluster.images.remove("pytorch/pytorch")
    run = submit(cluster, **_STORE)
    wait_until("a node for the pod", lambda: any(
        pod["spec"].get("nodeName") for pod in cluster.items("Pod")))  # fmt: skip
    cluster.node("rack-1").fall_silent()
    found = verdict(run, "node-silent", capsys)
    assert found["fix"]["command"][:4] == ["kubectl", "taint", "node", "rack-1"]


def test_a_run_that_is_not_there(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "nothing"]) == 2
    assert "there is no run 'nothing'" in capsys.readouterr().err


def test_the_least_rights_are_enough_and_less_is_said(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    cluster.add_node("rack-1", labels=_LABELS, devices={_SLICE: 7})
    run = submit(cluster, node_selector={"disk": "nvme"}, **_STORE)
    config = cluster.account("trainer")
    monkeypatch.setenv("KUBECONFIG", str(config))
    assert main(["doctor"]) == 3
    without = capsys.readouterr().out
    assert "you may not do all that a run needs" in without
    assert main(["why", run]) == 1

    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    assert main(["doctor", "--rbac", "--subject", "serviceaccount:trainer"]) == 0
    own, wide, *bindings = capsys.readouterr().out.split("---\n")
    file = tmp_path / "roles.yaml"
    file.write_text("---\n".join([own, bindings[0]]), encoding="utf-8")
    cluster.kubectl("apply", "-f", str(file))
    monkeypatch.setenv("KUBECONFIG", str(config))
    narrow = wait_until("the Role", lambda: _report(capsys, "rights", False))
    assert narrow["rights-to-read"]["level"] == "note"
    assert {gap["what"] for gap in said(run, capsys)["not_readable"]} >= {"nodes", "pods"}

    file.write_text("---\n".join([wide, bindings[1]]), encoding="utf-8")
    cluster.kubectl("apply", "-f", str(file))
    try:
        full = wait_until("the ClusterRole", lambda: _report(capsys, "rights-to-read", False))
        assert full["rights"]["level"] == "ok"
        assert {finding["level"] for finding in full.values()} <= {"ok", "note"}
        found = said(run, capsys)
        assert found["verdict"]["id"] == "selector-matches-nothing"
        assert found["not_readable"] == []
    finally:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        cluster.kubectl("delete", "-f", str(file))


def _report(
    capsys: pytest.CaptureFixture[str], id: str, problem: bool
) -> dict[str, dict[str, Any]] | None:
    """Return doctor's findings once one of them is, or is not, among them as a complaint."""
    capsys.readouterr()
    main(["doctor", "-o", "json"])
    found = {f["id"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    complains = found.get(id, {"level": "ok"})["level"] != "ok"
    return found if complains == problem else None


def test_doctor_tries_a_job_and_says_the_servers_words(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add_node("rack-1", labels=_LABELS, devices={_SLICE: 7})
    quota = {"count/pods": "5", f"requests.{_SLICE}": "0"}
    cluster.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
                    "spec": {"hard": quota}})  # fmt: skip

    def look() -> dict[str, Any] | None:
        capsys.readouterr()
        assert main(["doctor", "-o", "json"]) == 3
        found = json.loads(capsys.readouterr().out)["findings"]
        refused = [f for f in found if f["id"] == "dry-run" and f["level"] == "problem"]
        counted = any(f["id"] == "quota-count-pods" for f in found)
        return refused[0] if refused and counted else None

    assert "exceeded quota: team" in wait_until("the quota in force", look)["details"][0]
