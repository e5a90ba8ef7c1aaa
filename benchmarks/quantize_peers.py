"""The quantizers that gpukit is measured against, each in an environment of its own.

Environments are made once with uv and kept in the user's cache folder, under a name that holds the
pinned versions and the Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .quantize_tasks import Task

__all__ = ["PEERS", "Made", "made"]

_INSTALL, _LIMIT = 600, 300  # seconds; gpukit itself is given 240
_MEMORY = 16 << 30  # bytes
_REQUIREMENTS = {
    "optimum": ("optimum==2.1.0", "optimum-onnx[onnxruntime]==0.1.0", "torch==2.13.0"),
    "olive": (
        "olive-ai==0.13.0",
        "onnxruntime==1.32.0",
        "onnx==1.23.2",
        "torch==2.13.0",
        "requests",
    ),
    "nncf": ("nncf==3.4.0", "onnxruntime==1.32.0", "onnx==1.23.2"),
}


class PeerError(Exception):
    """A peer that cannot be installed, or that wrote nothing."""


@dataclass(frozen=True)
class Made:
    """The model of a peer, None where there is none; what is to be said of it; seconds it took."""

    path: Path | None
    said: str
    seconds: float


def _python(peer: str) -> Path:
    """Return the Python of a peer's environment; make it if it is not there."""
    wanted = _REQUIREMENTS[peer]
    key = hashlib.sha256("\n".join((sys.version, *wanted)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "gpukit" / "benchmarks" / f"{peer}-{key}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        print(f"  installing {', '.join(wanted)}", file=sys.stderr, flush=True)
        for command in (
            [uv, "venv", "-q", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "-q", "--python", str(folder / "bin" / "python"), *wanted],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL)
            if done.returncode:
                reason = " ".join(done.stderr.split())[:120]
                raise PeerError(f"not installed: {reason}")
        (folder / "ready").touch()
    return folder / "bin" / "python"


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    shell = ["bash", "-c", f'ulimit -v {_MEMORY >> 10}; exec "$@"', "peer", *command]
    subprocess.run(
        shell, check=True, capture_output=True, text=True, timeout=_LIMIT, cwd=folder,
        env=environment,
    )  # fmt: skip


def _only_model(folder: Path) -> Path:
    found = sorted(p for p in folder.rglob("*.onnx") if p.name != "input.onnx")
    if not found:
        raise PeerError("it wrote no model")
    return found[0]


def optimum(task: Task, folder: Path) -> Path:
    """`optimum-cli onnxruntime quantize --avx512_vnni`: its default, dynamic."""
    python = _python("optimum")
    (folder / "in").mkdir(parents=True)
    shutil.copy(task.model, folder / "in" / "model.onnx")
    (folder / "in" / "config.json").write_text('{"model_type": "bert"}')
    _run(
        [str(python.with_name("optimum-cli")), "onnxruntime", "quantize", "--avx512_vnni",
         "--onnx_model", str(folder / "in"), "-o", str(folder / "out")], folder,
    )  # fmt: skip
    return _only_model(folder / "out")


_STATIC = """
import sys, numpy as np
from onnxruntime.quantization import quantize_static
class Reader:
    def __init__(self):
        data = dict(np.load(sys.argv[3])); n = len(next(iter(data.values())))
        self.rest = iter({k: data[k][i : i + 1] for k in data} for i in range(min(n, 64)))
    def get_next(self):
        return next(self.rest, None)
quantize_static(sys.argv[1], sys.argv[2], Reader())
"""


def static(task: Task, folder: Path) -> Path:
    """onnxruntime's quantize_static with its defaults, on 64 of the calibration examples."""
    folder.mkdir(parents=True)
    target = folder / "static.onnx"
    _run([sys.executable, "-c", _STATIC, str(task.model), str(target), str(task.calib)], folder)
    return target


def olive(task: Task, folder: Path) -> Path:
    """`olive quantize` with its default algorithm for ONNX models."""
    python = _python("olive")
    folder.mkdir(parents=True)
    shutil.copy(task.model, folder / "input.onnx")
    _run(
        [str(python.with_name("olive")), "run-pass", "--pass-name", "OnnxDynamicQuantization",
         "-m", str(folder / "input.onnx"), "-o", str(folder / "out")], folder,
    )  # fmt: skip
    return _only_model(folder / "out")


_NNCF = """
import sys, numpy as np, nncf, onnx, onnxruntime as ort
from onnx import version_converter
model, target, calib, evaluation = sys.argv[1:]
loaded = onnx.load(model)
if max(o.version for o in loaded.opset_import if o.domain == "") < 13:
    loaded = version_converter.convert_version(loaded, 17)
def rows(path, most):
    data = dict(np.load(path))
    keys = [k for k in data if k != "labels"]
    labels = data["labels"] if "labels" in data else np.zeros(len(data[keys[0]]))
    return [({k: data[k][i : i + 1] for k in keys}, labels[i]) for i in range(len(labels))][:most]
def inputs(item):
    return item[0]
def validate(model, items):
    made = isinstance(model, onnx.ModelProto)
    session = ort.InferenceSession(model.SerializeToString()) if made else model
    said = [np.asarray(session.run(None, feeds)[0]).argmax(-1).reshape(-1)[0] for feeds, _ in items]
    return float(np.mean([a == b for a, (_, b) in zip(said, items)])), None
made = nncf.quantize_with_accuracy_control(
    loaded, nncf.Dataset(rows(calib, 128), inputs), nncf.Dataset(rows(evaluation, 1000)),
    validation_fn=lambda m, d: validate(m, d), max_drop=0.01)
onnx.save(made, target)
"""


def nncf(task: Task, folder: Path) -> Path:
    """NNCF's quantize_with_accuracy_control, max_drop 0.01, on 1,000 of gpukit's examples."""
    python = _python("nncf")
    folder.mkdir(parents=True)
    target = folder / "nncf.onnx"
    _run(
        [str(python), "-c", _NNCF, str(task.model), str(target), str(task.calib), str(task.eval)],
        folder,
    )  # fmt: skip
    return target


def made(tool: str, task: Task, folder: Path) -> Made:
    """Return what a peer makes of a task; it is made once, and kept in the folder."""
    mine = folder / f"peer-{tool.split()[0]}"
    noted = mine / "made.json"
    if not noted.exists():
        shutil.rmtree(mine, ignore_errors=True)
        start, path, said = time.perf_counter(), None, "made"
        try:
            path = PEERS[tool](task, mine)
        except subprocess.TimeoutExpired:
            said = f"no result in {_LIMIT} s"
        except subprocess.CalledProcessError as error:
            lines = str(error.stderr or "").strip().splitlines()
            said = f"failed with {error.returncode}: {(lines or ['no word'])[-1][:90]}"
        except (OSError, PeerError) as error:
            said = f"failed: {str(error)[:90]}"
        seconds = time.perf_counter() - start
        mine.mkdir(exist_ok=True)
        noted.write_text(json.dumps([path and str(path), said, seconds]))
    where, said, seconds = json.loads(noted.read_text())
    return Made(Path(where) if where else None, said, seconds)


PEERS: dict[str, Callable[[Task, Path], Path]] = {
    "Optimum CLI": optimum, "onnxruntime static": static, "Olive dynamic": olive,
    "NNCF accuracy-aware": nncf,
}  # fmt: skip
