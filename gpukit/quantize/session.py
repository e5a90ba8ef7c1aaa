"""Sessions of onnxruntime, and what they give back."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from gpukit.errors import UsageError

from .data import Feeds

__all__ = ["check_target", "cpu_flags", "open_session", "output_names", "run", "usable_cpus"]

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}


def check_target(target: str) -> None:
    """Raise where onnxruntime cannot run on a target: it would run elsewhere without a word.

    Raises:
        UsageError: an unknown target, or one whose provider is not installed.
    """
    if target not in _PROVIDERS:
        raise UsageError(
            "target-unknown", f"there is no target {target!r}", f"take {' or '.join(_PROVIDERS)}"
        )
    wanted = _PROVIDERS[target][0]
    if wanted not in ort.get_available_providers():
        raise UsageError(
            "target-missing", f"this onnxruntime has no {wanted}, so nothing runs on {target}",
            "pip install onnxruntime-gpu in place of onnxruntime, on a machine with a GPU",
        )  # fmt: skip


def open_session(path: Path, threads: int, target: str = "cpu") -> Any:
    """Load a model as a service would: all optimizations on, ``threads`` threads within a node."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    return ort.InferenceSession(str(path), options, providers=list(_PROVIDERS[target]))


def output_names(session: Any) -> list[str]:
    """Return the outputs that are arrays; sequences and maps are left out."""
    return [o.name for o in session.get_outputs() if o.type.startswith("tensor(")]


def run(
    session: Any, names: Sequence[str], feeds: Feeds, count: int, filled: int
) -> dict[str, Any]:
    """Run one inference and return outputs whose first axis counts its ``count`` examples.

    Args:
        session: the loaded model.
        names: the outputs wanted.
        feeds: the inputs.
        count: examples that count.
        filled: examples that were put in, with those that fill the batch.
    """
    made = {}
    for name, value in zip(names, session.run(list(names), feeds), strict=True):
        array = np.asarray(value)
        if array.dtype == object:  # text
            array = array.astype(str)
        if array.ndim and len(array) == filled:
            made[name] = array[:count]
        elif count == 1 == filled:
            made[name] = array[None]
        else:
            made[name] = np.repeat(array[None], count, axis=0)
    return made


def usable_cpus() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> tuple[str, ...]:
    """Return what decides how fast and how exact 8-bit arithmetic is on this CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    lines = [x for x in text.splitlines() if x.startswith(("flags", "Features"))]
    known = set(lines[0].split()) if lines else set()
    return (platform.machine(), *(flag for flag in _FLAGS if flag in known))
