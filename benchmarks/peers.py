"""The peers that gpukit is measured against, in an environment of their own.

It is made once and kept in the user's cache folder, under a name that holds the pinned versions
and the Python. With ``GPUKIT_BENCH_PATH`` set, that folder is the last one on its ``sys.path``:
so a peer can import the very torch that gpukit's environment has, and nothing of it shadows what
the peer brought along.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

__all__ = ["PEERS", "environment_with_torch", "peers_bin"]

PEERS = ("torchx==0.7.0", "submitit==1.5.4")
_PATH = "GPUKIT_BENCH_PATH"
_HOOK = f"import os, sys; sys.path.extend(filter(None, [os.environ.get({_PATH!r})]))\n"


def peers_bin() -> Path:
    """Return the ``bin`` folder of the peers' environment; make it if it is not there."""
    key = hashlib.sha256("\n".join((sys.version, sys.prefix, *PEERS)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gpukit" / "benchmarks" / f"peers-{key}"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr)
        _make(folder)
        (folder / "ready").touch()
    return folder / "bin"


def environment_with_torch() -> dict[str, str]:
    """Return this environment, and in it the folder from which peers can import torch."""
    return {**os.environ, _PATH: sysconfig.get_paths()["purelib"]}


def _make(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    if uv:
        commands = [
            [uv, "venv", "-q", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "-q", "--python", str(python), *PEERS],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PEERS],
        ]
    for command in commands:
        subprocess.run(command, check=True, stdout=sys.stderr)
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (Path(where.stdout.strip()) / "benchmark_path.pth").write_text(_HOOK)
    for module in ("torchx", "submitit"):  # byte code of all modules, as an installer may leave it
        subprocess.run([python, "-c", f"import {module}"], check=True)
