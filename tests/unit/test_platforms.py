"""The platform is read off the nodes: recognised, compared with the declaration, and read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from gpukit.catalog import load_catalog
from gpukit.cli.gpus import how_to_ask
from gpukit.cli.main import main
from gpukit.cluster import read_nodes
from gpukit.diagnose import Recognition, recognise
from gpukit.errors import ClusterError, PlacementError
from gpukit.placement import Placement, resolve
from gpukit.spec import make_spec
from tests.nodes import NODES, node

CATALOG = load_catalog()
PLATFORMS = CATALOG.platforms
SYSTEM = node("system-1", {"eks.amazonaws.com/nodegroup": "system"}, provider="aws:///a/i-1")


def seen(*nodes: dict[str, Any]) -> Recognition:
    return recognise(nodes, PLATFORMS)


def place_on(found: Recognition, **options: Any) -> Placement:
    return resolve(make_spec({"platform": "auto", **options}), CATALOG, None, found)


# ---- pure recognition


@pytest.mark.parametrize("name", NODES)
def test_each_platform_is_recognised_by_its_own_nodes(name: str) -> None:
    found = seen(NODES[name], node("cpu-1", {}))
    assert found.platform.name == name
    assert "1 of 1 nodes with a GPU" in found.why
    assert found.warnings == ()


@pytest.mark.parametrize("name", NODES)
def test_what_auto_places_fits_the_node_it_was_read_from(name: str) -> None:
    found = seen(NODES[name])
    profile = "mig-1g.10gb" if name == "generic-single" else "h100:8"
    placed = place_on(found, profile=profile, spot=True, checkpoints="s3://b/p")
    assert placed.platform == name
    assert placed.resource_name in found.offers
    labels = NODES[name]["metadata"]["labels"]
    for term in placed.node_terms:
        if term.operator == "In":
            assert labels.get(term.key) in term.values, term
    for key, value in placed.node_selector.items():
        assert labels[key] == value


def test_gpu_nodes_decide_and_system_nodes_do_not() -> None:
    assert seen(SYSTEM, SYSTEM, NODES["karpenter"]).platform.name == "karpenter"
    none_up = seen(SYSTEM, node("k", {"karpenter.sh/nodepool": "default"}, provider="aws:///b/i-2"))
    assert none_up.platform.name == "karpenter", "the one that starts nodes"
    assert "no node with a GPU is up" in none_up.warnings[0]
    assert "eks" in none_up.warnings[0]


def test_gpu_nodes_of_two_platforms_need_a_word() -> None:
    with pytest.raises(PlacementError) as caught:
        seen(NODES["eks"], NODES["karpenter"])
    assert caught.value.id == "platform-ambiguous"
    assert "1 of eks, 1 of karpenter" in caught.value.message
    with pytest.raises(PlacementError, match="no nodes"):
        seen()


def test_the_strategy_of_the_nodes_counts() -> None:
    single = node(
        "n", {
            "eks.amazonaws.com/nodegroup": "mig", "nvidia.com/mig.strategy": "single",
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
        },
        {"nvidia.com/gpu": 56},
    )  # fmt: skip
    placed = place_on(seen(single), profile="mig-1g.10gb", gpu="a100-80gb")
    assert placed.resource_name == "nvidia.com/gpu"
    assert any("MIG-1g.10gb" in str(term.values) for term in placed.node_terms)
    invalid = node(
        "bad", {
            "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-INVALID",
            "nvidia.com/mig.strategy": "single",
        },
    )  # fmt: skip
    assert any("bad offers no GPU" in warning for warning in seen(invalid).warnings)


def test_shares_that_keep_the_name_of_gpus_are_found() -> None:
    shared = node(
        "n", {
            "nvidia.com/gpu.product": "Tesla-T4-SHARED",
            "nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.replicas": "4",
        },
        {"nvidia.com/gpu": 4},
    )  # fmt: skip
    placed = place_on(seen(shared), profile="shared")
    assert placed.resource_name == "nvidia.com/gpu"
    assert any(
        term.key == "nvidia.com/gpu.sharing-strategy" and term.operator == "In"
        for term in placed.node_terms
    )
    renamed = node("n", shared["metadata"]["labels"], {"nvidia.com/gpu.shared": 4})
    assert place_on(seen(renamed), profile="shared").resource_name == "nvidia.com/gpu.shared"


def test_the_region_of_the_nodes_gives_the_price() -> None:
    found = seen(NODES["eks"])
    assert "us-west-2" in place_on(found, profile="h100:8").price.source
    assert "for want of one in us-west-2" in place_on(found, profile="l4").price.source


def test_a_resource_that_no_node_offers_is_told() -> None:
    mixed = node("n", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"},
                 {"nvidia.com/mig-1g.5gb": 7})  # fmt: skip
    [warning] = place_on(seen(mixed), profile="mig-1g.6gb").warnings
    assert "no node of the cluster offers nvidia.com/mig-1g.6gb now" in warning
    assert "did you mean 'nvidia.com/mig-1g.5gb'?" in warning
    few = node("n", {"nvidia.com/gpu.product": "NVIDIA-L4"}, {"nvidia.com/gpu": 2})
    warnings = place_on(seen(few), profile="l4:4").warnings
    assert any("the most is 2" in warning for warning in warnings)


def test_odd_nodes_are_read_as_far_as_they_go() -> None:
    bare: dict[str, Any] = {"metadata": {"name": "x", "labels": None}, "status": {}}
    assert seen(bare).platform.name == "generic"
    thousands = node("n", {}, None)
    thousands["status"]["allocatable"]["nvidia.com/gpu.shared"] = "1k"
    assert seen(thousands).offers == {"nvidia.com/gpu.shared": 1000}


# ---- reading a cluster


Answer = Callable[[str, dict[str, list[str]]], tuple[int, object]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], None]]:
    """Serve an API on loopback, and make it the current cluster."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                status, body = answer(url.path, parse_qs(url.query))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configure(tmp_path, monkeypatch, f"http://127.0.0.1:{server.server_port}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    file = folder / "kubeconfig"
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [context],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))


def answer_with(*nodes: dict[str, Any]) -> Answer:
    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, object]:
        assert path == "/api/v1/nodes"
        start = int(query.get("continue", ["0"])[0])
        more = str(start + 1) if start + 1 < len(nodes) else None
        return 200, {"metadata": {"continue": more}, "items": list(nodes[start : start + 1])}

    return answer


def test_all_pages_of_nodes_are_read(serve: Callable[[Answer], None]) -> None:
    serve(answer_with(SYSTEM, NODES["gke"], NODES["aks"]))
    assert read_nodes() == [SYSTEM, NODES["gke"], NODES["aks"]]


@pytest.mark.parametrize(
    ("status", "body", "id", "words"),
    [
        (403, {"message": 'nodes is forbidden: User "dev" cannot list resource "nodes" in API '
               'group "" at the cluster scope'}, "cluster-forbidden", '"dev"'),
        (401, {"message": "Unauthorized"}, "cluster-login", "Unauthorized"),
        (500, {"message": "etcd is away"}, "cluster-error", "etcd is away"),
    ],
)  # fmt: skip
def test_the_api_servers_own_words_are_passed_on(
    serve: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch, status: int, body: object,
    id: str, words: str,
) -> None:  # fmt: skip
    serve(lambda path, query: (status, body))
    monkeypatch.setattr("gpukit.cluster.nodes._PATIENCE", 0.0)
    with pytest.raises(ClusterError) as caught:
        read_nodes()
    assert caught.value.id == id
    assert words in caught.value.message
    assert caught.value.hint


def test_no_cluster_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError) as caught:
        read_nodes()
    assert caught.value.id == "cluster-config"
    configure(tmp_path, monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(ClusterError) as caught:
        read_nodes()
    assert caught.value.id == "cluster-unreachable"
    assert "127.0.0.1:1" in caught.value.message


# ---- on the command line


def test_gpus_of_the_cluster(
    serve: Callable[[Answer], None], capsys: pytest.CaptureFixture[str]
) -> None:
    serve(answer_with(SYSTEM, NODES["eks"], {**NODES["eks"], "x": 1}))
    assert main(["gpus", "--cluster"]) == 0
    shown = capsys.readouterr()
    assert "NVIDIA-H100-80GB-HBM3" in shown.out
    assert shown.out.split("\n")[1].split()[-5:] == ["2", "8", "16", "h100", "6.88"]
    assert "platform eks: 2 of 2 nodes with a GPU" in shown.err
    assert main(["gpus", "--cluster", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["offers"] == {"nvidia.com/gpu": 16}
    assert (found["nodes"][0]["profile"], found["nodes"][0]["on_demand_hour"]) == ("h100", "6.8800")


@pytest.mark.parametrize(
    ("model", "resource", "profile", "price"),
    [
        ("NVIDIA-H100-80GB-HBM3", "nvidia.com/mig-1g.10gb", "mig-1g.10gb", "0.9829"),
        ("NVIDIA-A100-SXM4-40GB", "nvidia.com/mig-1g.10gb", "mig-1g.10gb", "0.6862"),
        ("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb.me", "nvidia.com/gpu", "mig-1g.10gb+me", "0.4901"),
        ("nvidia-l4", "nvidia.com/gpu", "l4", "0.8048"),
        ("NVIDIA-H100-80GB-HBM3-SHARED", "nvidia.com/gpu", "shared", None),
        ("NVIDIA-H100-80GB-HBM3", "nvidia.com/mig-1g.99gb", None, None),
        ("-", "nvidia.com/gpu", None, None),
    ],
)
def testhow_to_ask_for_what_a_cluster_has(
    model: str, resource: str, profile: str | None, price: str | None
) -> None:
    catalog = load_catalog()
    found = how_to_ask(model, resource, catalog, catalog.platform("generic"))
    assert (found[0], None if found[1] is None else f"{found[1]:.4f}") == (profile, price)


def test_auto_renders_for_the_cluster(
    serve: Callable[[Answer], None], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    serve(answer_with(NODES["gke"]))
    monkeypatch.chdir(tmp_path)
    job = 'from gpukit import gpu_job\n\n@gpu_job(profile="h100", platform="auto")\n'
    Path("auto_job.py").write_text(f"{job}def train() -> None: ...\n", encoding="utf-8")
    assert main(["render", "auto_job.py"]) == 0
    manifest = list(yaml.safe_load_all(capsys.readouterr().out))[-1]
    text = json.dumps(manifest["spec"]["template"]["spec"]["affinity"])
    assert "cloud.google.com/gke-accelerator" in text
    assert '"platform":"auto"' in manifest["metadata"]["annotations"]["gpukit.dev/spec"]


def test_own_prices_come_from_the_nearest_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name, dollars in (("flag", 1), ("variable", 2), ("project", 3), ("user", 4)):
        folder = tmp_path / "config" / "gpukit" if name == "user" else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        text = f'[[price]]\ngpu = "h100"\ngpu_hour = {dollars}\n'
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    (tmp_path / "config/gpukit/config.toml").write_text('prices = "user.toml"\n')
    (tmp_path / "pyproject.toml").write_text('[tool.gpukit]\nprices = "project.toml"\n')
    monkeypatch.setenv("GPUKIT_PRICES", "variable.toml")

    def price(*words: str) -> str:
        assert main(["gpus", "h100", "-o", "json", *words]) == 0
        listed: str = json.loads(capsys.readouterr().out)[0]["price"]["on_demand"]
        return listed

    assert price("--prices", "flag.toml") == "1.0000"
    assert price() == "2.0000"
    monkeypatch.delenv("GPUKIT_PRICES")
    assert price() == "3.0000"
    Path("job.py").write_text(
        'from gpukit import gpu_job\n\n@gpu_job(profile="h100")\ndef train() -> None: ...\n'
    )
    assert main(["explain", "job.py"]) == 0, "prices is no option of a job"
    assert "$3.00/h" in capsys.readouterr().out
    (tmp_path / "pyproject.toml").write_text("[tool.gpukit]\n")
    assert price() == "4.0000"
    assert main(["gpus", "--prices", "no-such.toml"]) == 2
    said = capsys.readouterr().err
    assert "no-such.toml" in said
    assert "(from --prices)" in said
