"""gpukit: GPU jobs on Kubernetes that survive spot interruptions and say what they cost.

Public names are loaded when they are used (PEP 562), so ``import gpukit`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .errors import GpukitError
    from .job import GpuJob, gpu_job
    from .runs.handle import Run
    from .runs.opening import open_run
    from .runtime.checkpoint import Checkpointer
    from .runtime.context import output_dir, run_info
    from .spec import JobSpec

__all__ = [
    "Checkpointer",
    "GpuJob",
    "GpukitError",
    "JobSpec",
    "Run",
    "__version__",
    "gpu_job",
    "open_run",
    "output_dir",
    "run_info",
]

_HOME = {
    "Checkpointer": "runtime.checkpoint",
    "GpuJob": "job",
    "GpukitError": "errors",
    "JobSpec": "spec",
    "Run": "runs.handle",
    "gpu_job": "job",
    "open_run": "runs.opening",
    "output_dir": "runtime.context",
    "run_info": "runtime.context",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
