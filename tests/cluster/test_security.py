"""The default job in a namespace that enforces PodSecurity "restricted", and where secrets go."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.training import H100, start_run

pytestmark = pytest.mark.e2e

SECRET = "s3cret-value-that-nobody-may-see"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"

_SOURCE = """
@gpu_job(profile="h100", OPTIONS)
def look() -> dict:
    import getpass, tempfile
    from pathlib import Path
    tempfile.NamedTemporaryFile().close()
    return {"uid": os.getuid(), "user": getpass.getuser(), "home": os.access(Path.home(), os.W_OK),
            "account": Path("TOKEN").exists(), "length": len(os.environ.get("KEY", "")),
            "privileges": "NoNewPrivs:\\t1" in Path("/proc/self/status").read_text()}
""".replace("TOKEN", TOKEN)


@pytest.mark.parametrize(
    "options", ['checkpoints="new:1Gi", spot=True', "spot=False"], ids=["durable", "plain"]
)
def test_the_default_job_runs_where_restricted_is_enforced(
    cluster: Cluster, tmp_path: Path, options: str
) -> None:
    cluster.add_node("a", labels=H100, devices={"nvidia.com/gpu": 1})
    cluster.enforce_restricted()
    source = _SOURCE.replace("OPTIONS", options)
    run = start_run(cluster, tmp_path, source, {})
    cluster.wait_for_job(run.name)
    pod = cluster.wait_for_pod(run.selector, phase="Succeeded")
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert json.loads(state["message"])["result"] == {
        "uid": 1000, "user": "gpukit", "home": True, "account": False, "length": 0,
        "privileges": True,
    }  # fmt: skip


def test_a_secret_is_in_no_object_but_the_secret_and_in_no_log(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.add_node("a", labels=H100, devices={"nvidia.com/gpu": 1})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
              "stringData": {"key": SECRET}}  # fmt: skip
    cluster.create(secret)
    options = 'checkpoints="new:1Gi", secrets={"KEY": "keys/key"}'
    run = start_run(cluster, tmp_path, _SOURCE.replace("OPTIONS", options), {})
    cluster.wait_for_job(run.name)
    pod = cluster.wait_for_pod(run.selector, phase="Succeeded")

    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert json.loads(state["message"])["result"]["length"] == len(SECRET)  # it was there
    everything = [cluster.log(pod["metadata"]["name"])]
    for kind in ("Job", "Pod", "ConfigMap", "PersistentVolumeClaim"):
        everything.append(json.dumps(cluster.items(kind)))
    events = cluster.api.items(f"/api/v1/namespaces/{cluster.namespace}/events")
    everything.append(json.dumps(events))
    everything += [
        path.read_bytes().decode(errors="replace")
        for path in run.store.rglob("*")
        if path.is_file()
    ]
    for text in everything:
        assert SECRET not in text
        assert base64.b64encode(SECRET.encode()).decode() not in text
