"""What is loaded when: importing does nothing, and help loads click and nothing heavier."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "pydantic", "rich", "yaml", "torch", "numpy", "kubernetes", "tomllib", "tomli", "json",
    "subprocess", "asyncio", "importlib.metadata", "logging", "onnx", "onnxruntime",
}  # fmt: skip


def modules_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return set(shown.stderr.split())


def ours(modules: set[str]) -> set[str]:
    return {m for m in modules if m == "gpukit" or m.startswith("gpukit.")}


def test_help_loads_click_and_nothing_heavier() -> None:
    modules = modules_after("from gpukit.cli.main import main\nmain(['--help'])")
    assert "click" in modules
    assert not modules & HEAVY
    assert ours(modules) == {
        "gpukit", "gpukit._version", "gpukit.cli", "gpukit.cli.main", "gpukit.errors",
    }  # fmt: skip


def test_importing_gpukit_loads_nothing_of_others() -> None:
    modules = modules_after("import gpukit")
    assert not modules & (HEAVY | {"click"})
    assert ours(modules) == {"gpukit", "gpukit._version"}


def test_a_job_file_needs_only_the_standard_library() -> None:
    modules = modules_after("from gpukit import gpu_job, Checkpointer")
    assert not modules & {"pydantic", "rich", "yaml", "torch", "numpy", "click"}


def test_render_does_without_rich_torch_and_kubernetes() -> None:
    modules = modules_after("import gpukit.cli.render, gpukit.runs.plan")
    assert not modules & {"rich", "torch", "numpy", "kubernetes", "asyncio"}


def test_help_of_quantize_loads_no_runtime_of_models() -> None:
    modules = modules_after("from gpukit.cli.main import main\nmain(['quantize', '--help'])")
    assert not modules & {"onnx", "onnxruntime", "numpy", "torch", "rich", "pydantic"}
    assert not modules_after("import gpukit.quantize") & {"onnx", "onnxruntime", "numpy", "torch"}


def test_the_backend_of_local_runs_needs_only_the_standard_library() -> None:
    modules = modules_after("import gpukit.local.__main__")
    assert not modules & {"pydantic", "rich", "yaml", "torch", "numpy", "click"}


def test_importing_reads_no_environment_and_writes_nothing() -> None:
    code = """
import json, os
asked = []
class Watched(dict):
    def __getitem__(self, key): asked.append(key); return super().__getitem__(key)
    def get(self, key, default=None): asked.append(key); return super().get(key, default)
real, os.environ = os.environ, Watched(os.environ)
import gpukit, gpukit.job, gpukit.spec, gpukit.render, gpukit.runs.submit, gpukit.cli.submit
os.environ = real
print(json.dumps([key for key in asked if key.startswith("GPUKIT")]))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(shown.stdout) == [], shown.stderr
