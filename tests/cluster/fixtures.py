"""The fixtures: ``machine`` lasts as long as pytest, ``cluster`` is one test's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .api import Api
from .build import NotBuilt, binaries
from .cluster import Cluster, Machine
from .controlplane import ControlPlane, write_kubeconfig
from .proxy import FaultProxy

__all__ = ["cluster", "machine", "proxy"]


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A running control plane with kubelet and storage, one for each process of pytest.

    Processes do not share one: nodes belong to no namespace, so tests would see each other's.
    """
    given = os.environ.get("GPUKIT_TEST_KUBECONFIG")
    if given:
        yield Machine(_api_of(Path(given)), Path(given))
        return
    try:
        folder = binaries()
    except NotBuilt as reason:
        pytest.skip(str(reason))
    plane = ControlPlane(folder).start()
    found = Machine(plane.api, plane.kubeconfig, plane)
    yield found
    found.stop()


@pytest.fixture
def cluster(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with an empty namespace and no nodes; ``KUBECONFIG`` leads to it."""
    found = Cluster(machine, tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig))
    yield found
    found.close()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[FaultProxy]:
    """A proxy before the test's API server; ``proxy.kubeconfig`` leads through it."""
    plane = cluster.machine.plane
    if plane is None:
        pytest.skip("needs a control plane of its own")
    found = FaultProxy(plane.url, plane.ca, plane.key)
    found.kubeconfig = write_kubeconfig(
        cluster.folder / "kubeconfig-proxy", found.url, plane.ca, plane.token,
        namespace=cluster.namespace,
    )  # fmt: skip
    yield found
    found.close()


def _api_of(kubeconfig: Path) -> Api:
    """Return a client for the cluster of a kubeconfig."""
    from kubernetes import client
    from kubernetes import config as loader

    config: Any = loader  # the package has no types
    found: Any = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=found)
    token = found.get_api_key_with_prefix("authorization")
    return Api(
        found.host,
        Path(found.ssl_ca_cert),
        {"Authorization": token} if token else {},
        certificate=Path(found.cert_file) if found.cert_file else None,
        key=Path(found.key_file) if found.key_file else None,
    )
