"""A real control plane on loopback: etcd, API server, controller manager, scheduler."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import urllib3

from .api import Api, ApiError
from .leash import __file__ as leash_file

__all__ = ["ControlPlane", "write_kubeconfig"]

_PREFIX = "gpukit-cluster-"
START_SECONDS = 120.0
NODE_GRACE = 16
"""Seconds without a sign of life after which a node counts as not ready."""

_CONTROLLER_MANAGER = (
    "--leader-elect=false",
    "--use-service-account-credentials=false",
    f"--node-monitor-grace-period={NODE_GRACE}s",
    "--node-monitor-period=1s",
    "--node-startup-grace-period=20s",
    "--pvclaimbinder-sync-period=2s",
    "--kube-api-qps=400",
    "--kube-api-burst=800",
)
_SCHEDULER = ("--leader-elect=false", "--kube-api-qps=400", "--kube-api-burst=800")


class ControlPlane:
    """The processes of a control plane, and the folder of all that they keep.

    Attributes:
        folder: logs, certificates, data; removed by :meth:`stop`.
        api: the API server as its administrator sees it.
        token, kubeconfig: of that administrator.
    """

    def __init__(self, binaries: Path, manager: tuple[str, ...] = ()) -> None:
        self._binaries = binaries
        self._manager = (*_CONTROLLER_MANAGER, *manager)
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._held = _hold(self.folder)
        self.folder.chmod(0o711)  # volumes lie below it, and pods run as other users
        self.kubeconfig = self.folder / "kubeconfig"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[str, ...]] = {}
        self.token = secrets.token_hex(16)
        self.url = ""

    @property
    def ca(self) -> Path:
        """The certificate of the API server, which it signed itself."""
        return self.folder / "certs" / "apiserver.crt"

    @property
    def key(self) -> Path:
        """The private key of that certificate."""
        return self.folder / "certs" / "apiserver.key"

    def start(self) -> ControlPlane:
        """Start everything and wait until the API server is ready."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        etcd, peer, port = _free_ports(3)
        self._write_secrets()
        self._run("etcd", *self._etcd(etcd, peer))
        self._run("kube-apiserver", *self._apiserver(etcd, port))
        self.url = f"https://127.0.0.1:{port}"
        self._wait_for("the certificate", self.ca.exists)
        self._wait_for("the private key", self.key.exists)
        self.api = Api(self.url, self.ca, {"Authorization": f"Bearer {self.token}"})
        write_kubeconfig(self.kubeconfig, self.url, self.ca, self.token)
        self._wait_for("the API server", self._ready)
        common = (f"--kubeconfig={self.kubeconfig}", "--bind-address=127.0.0.1")
        manager, scheduler = _free_ports(2)
        self._run(
            "kube-controller-manager", *common, f"--secure-port={manager}",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}",
            f"--cert-dir={self.folder / 'manager'}", *self._manager,
        )  # fmt: skip
        self._run(
            "kube-scheduler", *common, f"--secure-port={scheduler}",
            f"--cert-dir={self.folder / 'scheduler'}", *_SCHEDULER,
        )  # fmt: skip
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait_for("the controllers", lambda: self.api.find(account) is not None)

    def pids(self) -> dict[str, int]:
        """Return the process that holds the leash of each component."""
        return {name: process.pid for name, process in self._processes.items()}

    def stop_component(self, name: str) -> None:
        """Stop one component, for example ``kube-controller-manager``."""
        process = self._processes.pop(name)
        _release(process)

    def start_component(self, name: str) -> None:
        """Start a component that was stopped, as it ran before."""
        self._run(name, *self._commands[name])

    def stop(self) -> None:
        """Kill everything, since nothing of it is kept, and remove the folder."""
        processes = list(self._processes.values())
        self._processes.clear()
        for process in processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"!")
                process.stdin.flush()
        for process in processes:
            _release(process)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._held)

    def _write_secrets(self) -> None:
        (self.folder / "accounts.key").write_text(_private_key(), encoding="ascii")
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f"{self.token},admin,admin,system:masters\n", encoding="ascii")

    def _etcd(self, port: int, peer: int) -> tuple[str, ...]:
        url, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
        return (
            f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync",
            f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}", "--log-level=warn",
        )  # fmt: skip

    def _apiserver(self, etcd: int, port: int) -> tuple[str, ...]:
        key = self.folder / "accounts.key"
        return (
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={port}",
            f"--cert-dir={self.folder / 'certs'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}", "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
        )  # fmt: skip

    def _run(self, name: str, *arguments: str) -> None:
        self._commands[name] = arguments
        leash = [sys.executable, "-I", "-S", leash_file]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*leash, str(self._binaries / name), *arguments],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
                env=_environment(),
            )  # fmt: skip

    def _ready(self) -> bool:
        try:
            return self.api.text("/readyz") == "ok"
        except (ApiError, urllib3.exceptions.HTTPError, OSError):
            return False

    def _wait_for(self, what: str, look: object) -> None:
        assert callable(look)
        until = time.monotonic() + START_SECONDS
        while not look():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended:\n{self.log(name)}")
            if time.monotonic() > until:
                raise RuntimeError(f"{what} did not come:\n{self.log('kube-apiserver')}")
            time.sleep(0.05)

    def log(self, name: str) -> str:
        """Return the last 3000 characters of a component's log."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]


def write_kubeconfig(
    path: Path, url: str, ca: Path, token: str, *, namespace: str = "default"
) -> Path:
    """Write a kubeconfig with one context, named gpukit-test."""
    name = "gpukit-test"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": url, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}
        ],
        "current-context": name,
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    path.chmod(0o600)
    return path


def _hold(folder: Path) -> int:
    """Mark a folder as in use for as long as this process lives."""
    held = os.open(folder / "held", os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return held


def _sweep() -> None:
    """Remove the folders of owners that were killed; their processes ended with them."""
    for mark in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/held"):
        with contextlib.suppress(OSError), mark.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mark.parent, ignore_errors=True)


def _release(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now; held together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _private_key() -> str:
    """Return a new key on P-256 in SEC 1 form, which signs the tokens of service accounts.

    The public half is optional there (RFC 5915), so the standard library is enough.
    """
    import base64

    number = (secrets.randbits(255) | 1).to_bytes(32, "big")
    head, curve = bytes.fromhex("30310201010420"), bytes.fromhex("a00a06082a8648ce3d030107")
    body = base64.encodebytes(head + number + curve).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{body}-----END EC PRIVATE KEY-----\n"


def _environment() -> dict[str, str]:
    """Proxies of this machine are not for loopback; Go is to use what the tests leave of it."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**kept, "GOMAXPROCS": os.environ.get("GPUKIT_TEST_GOMAXPROCS", "2")}
