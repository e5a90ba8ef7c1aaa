"""The binaries of the control plane: built once from this folder's go.mod files, then kept.

``python -m tests.cluster.build`` builds what is missing and prints the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "COMPONENTS", "NotBuilt", "binaries", "build", "cache", "go_environment", "go_version",
    "locked",
]  # fmt: skip

VERSION = "v1.37.2"  # of Kubernetes, as in controlplane/go.mod
_HERE = Path(__file__).parent
_KUBERNETES = "k8s.io/kubernetes/cmd"
_STAMP = "k8s.io/component-base/version"
COMPONENTS = {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": ("controlplane", f"{_KUBERNETES}/kube-apiserver"),
    "kube-controller-manager": ("controlplane", f"{_KUBERNETES}/kube-controller-manager"),
    "kube-scheduler": ("controlplane", f"{_KUBERNETES}/kube-scheduler"),
    "kubectl": ("controlplane", f"{_KUBERNETES}/kubectl"),
}
"""Name of each binary: the folder with its go.mod, and its package."""


class NotBuilt(Exception):  # noqa: N818 - a state of this machine, not an error
    """There are no binaries here; the message says how to get them."""


def binaries() -> Path:
    """Return the folder with all binaries, without building any.

    Raises:
        NotBuilt: there is none.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given and _complete(Path(given)):
        return Path(given).absolute()
    go = go_version()
    home, sources = _home(), _sources()
    # Without Go, whatever some Go has built from these sources is as good.
    folders = [home / f"{sources}-{go}"] if go else sorted(home.glob(f"{sources}-*"))
    for folder in folders:
        if _complete(folder):
            return folder
    raise NotBuilt(
        "no control plane is built here: `make controlplane` builds one in about 10 minutes"
        if go
        else "no control plane is built here, and Go is not installed: install Go, or set "
        "KUBEBUILDER_ASSETS to a folder with " + ", ".join(COMPONENTS)
    )


def build() -> Path:
    """Return the folder with all binaries; build them if they are missing.

    Two builders at once are safe: the second waits for the first and takes what it made.

    Raises:
        NotBuilt: Go is not installed.
        CalledProcessError: the build failed.
    """
    try:
        return binaries()
    except NotBuilt:
        go = go_version()
        if go is None:
            raise
    target = _home() / f"{_sources()}-{go}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_suffix(".lock")):
        if not _complete(target):
            shutil.rmtree(target, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as folder:
                partial = Path(folder) / target.name
                partial.mkdir()
                for name in COMPONENTS:
                    _build_one(name, partial)
                partial.rename(target)  # all of them or none
    return target


def _build_one(name: str, folder: Path) -> None:
    module, package = COMPONENTS[name]
    print(f"building {name}; the first time takes minutes", file=sys.stderr, flush=True)
    major, minor, _ = VERSION.removeprefix("v").split(".")
    stamps = {"gitVersion": VERSION, "gitMajor": major, "gitMinor": minor}
    flags = ["-s", "-w"]
    if module == "controlplane":
        flags += [f"-X {_STAMP}.{key}={value}" for key, value in stamps.items()]
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", " ".join(flags), "-o", folder / name, package],
        cwd=_HERE / module, env=go_environment(), check=True, stdout=sys.stderr,
    )  # fmt: skip


def go_environment() -> dict[str, str]:
    """The caller's own flags and workspaces must not change what is built."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false",
            "GOWORK": "off"}  # fmt: skip


def go_version() -> str | None:
    """Return the version of the Go that builds here, None without one."""
    if shutil.which("go") is None:
        return None
    found = subprocess.run(
        ["go", "env", "GOVERSION"], cwd=_HERE / "controlplane", env=go_environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or None


def _sources() -> str:
    digest = hashlib.sha256(VERSION.encode())
    for module in sorted({module for module, _ in COMPONENTS.values()}):
        for name in ("go.mod", "go.sum"):
            digest.update((_HERE / module / name).read_bytes())
    return digest.hexdigest()[:16]


def cache() -> Path:
    """Return where what was built for the tests is kept."""
    set_here = os.environ.get("XDG_CACHE_HOME")
    return (Path(set_here) if set_here else Path.home() / ".cache") / "gpukit"


def _home() -> Path:
    return cache() / "controlplane"


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in COMPONENTS)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Build, and print the folder. Without Go that is no failure: the tests skip and say so."""
    try:
        print(build())
    except NotBuilt as reason:
        print(f"{reason}; tests that need one are skipped", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"the build failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
